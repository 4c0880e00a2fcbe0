#[path = "../tests/common/recital.rs"]
mod recital;
fn main() {
    let n: usize = std::env::args().nth(1).unwrap().parse().unwrap();
    recital::write(std::path::Path::new("/tmp/rec"), recital::SMALL, &recital::counting(n));
}
