//! A sysfs of our own making.

use tempfile::TempDir;

use super::*;

struct Sysfs(TempDir);

impl Sysfs {
    fn new(files: &[(&str, &str)]) -> Self {
        let sysfs = Self(tempfile::tempdir().unwrap());
        files.iter().for_each(|(path, text)| sysfs.put(path, text));
        sysfs
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    }

    fn remove(&self, path: &str) {
        let path = self.0.path().join(path);
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }

    fn sensor(&self) -> Option<LinuxSensor> {
        LinuxSensor::find(self.0.path())
    }
}

const LAPTOP: &[(&str, &str)] = &[
    ("class/hwmon/hwmon0/name", "acpitz"),
    ("class/hwmon/hwmon0/temp1_input", "90000"),
    ("class/hwmon/hwmon1/name", "nvme"),
    ("class/hwmon/hwmon1/temp1_input", "99000"),
    ("class/hwmon/hwmon1/temp1_label", "Composite"),
    ("class/hwmon/hwmon2/name", "coretemp"),
    ("class/hwmon/hwmon2/temp1_input", "61000"),
    ("class/hwmon/hwmon2/temp1_label", "Package id 0"),
    ("class/hwmon/hwmon2/temp2_input", "63000"),
    ("class/hwmon/hwmon2/temp2_label", "Core 0"),
    ("class/hwmon/hwmon3/name", "thinkpad"),
    ("class/hwmon/hwmon3/fan1_input", "2400"),
    ("class/hwmon/hwmon3/fan2_input", "65535"),
    ("class/hwmon/hwmon3/temp1_input", "88000"),
    ("class/hwmon/hwmon3/temp1_label", "CPU"),
    ("class/thermal/thermal_zone0/type", "x86_pkg_temp"),
    ("class/thermal/thermal_zone0/temp", "62000"),
    ("class/thermal/cooling_device0/type", "Processor"),
    ("class/thermal/cooling_device0/cur_state", "0"),
    ("class/thermal/cooling_device1/type", "Fan"),
    ("class/thermal/cooling_device1/cur_state", "3"),
    ("class/power_supply/AC/type", "Mains"),
    ("class/power_supply/AC/online", "1"),
    ("class/power_supply/BAT0/type", "Battery"),
    ("class/power_supply/BAT0/status", "Charging"),
    ("class/power_supply/BAT0/energy_now", "30000000"),
    ("class/power_supply/BAT0/energy_full", "40000000"),
    ("class/power_supply/BAT0/power_now", "12500000"),
    ("class/power_supply/hidpp_battery_0/type", "Battery"),
    ("class/power_supply/hidpp_battery_0/scope", "Device"),
    ("class/power_supply/hidpp_battery_0/status", "Discharging"),
];

#[test]
fn the_package_is_chosen_among_all_that_a_laptop_has() {
    let sysfs = Sysfs::new(LAPTOP);
    let mut sensor = sysfs.sensor().unwrap();
    assert!(sensor.source().starts_with("coretemp Package id 0"), "{}", sensor.source());
    let reading = sensor.read(0.0).unwrap();
    assert_eq!(
        reading,
        HeatReading { celsius: Some(61.0), watts: None, fan_rpm: Some(2400.0), throttled: Some(false) }
    );
}

#[test]
fn each_kind_of_machine_has_its_sensor() {
    for (files, name, celsius) in [
        (
            &[
                ("class/hwmon/hwmon0/name", "k10temp"),
                ("class/hwmon/hwmon0/temp1_input", "80000"),
                ("class/hwmon/hwmon0/temp1_label", "Tctl"),
                ("class/hwmon/hwmon0/temp2_input", "70000"),
                ("class/hwmon/hwmon0/temp2_label", "Tdie"),
                ("class/hwmon/hwmon1/name", "amdgpu"),
                ("class/hwmon/hwmon1/temp1_input", "95000"),
            ][..],
            "k10temp Tdie",
            70.0,
        ),
        // Two sockets: the hotter one, wherever it is listed.
        (
            &[
                ("class/hwmon/hwmon2/name", "coretemp"),
                ("class/hwmon/hwmon2/temp1_input", "60000"),
                ("class/hwmon/hwmon2/temp1_label", "Package id 0"),
                ("class/hwmon/hwmon10/name", "coretemp"),
                ("class/hwmon/hwmon10/temp1_input", "65000"),
                ("class/hwmon/hwmon10/temp1_label", "Package id 1"),
            ],
            "coretemp Package id 1",
            65.0,
        ),
        (
            &[
                ("class/thermal/thermal_zone0/type", "cpu-thermal"),
                ("class/thermal/thermal_zone0/temp", "48312"),
                ("class/hwmon/hwmon0/name", "rp1_adc"),
                ("class/hwmon/hwmon0/temp1_input", "52000"),
            ],
            "cpu-thermal",
            48.312,
        ),
        // A phone's chip: clusters, and a modem that is hotter.
        (
            &[
                ("class/thermal/thermal_zone0/type", "cpu0-thermal"),
                ("class/thermal/thermal_zone0/temp", "50000"),
                ("class/thermal/thermal_zone9/type", "cpu1-thermal"),
                ("class/thermal/thermal_zone9/temp", "55000"),
                ("class/thermal/thermal_zone10/type", "modem-thermal"),
                ("class/thermal/thermal_zone10/temp", "77000"),
            ],
            "cpu1-thermal",
            55.0,
        ),
        (
            &[("class/thermal/thermal_zone0/type", "acpitz"), ("class/thermal/thermal_zone0/temp", "27800")],
            "acpitz",
            27.8,
        ),
        // A package that is not connected leaves it to the board.
        (
            &[
                ("class/hwmon/hwmon0/name", "coretemp"),
                ("class/hwmon/hwmon0/temp1_input", "0"),
                ("class/hwmon/hwmon0/temp1_label", "Package id 0"),
                ("class/thermal/thermal_zone0/type", "acpitz"),
                ("class/thermal/thermal_zone0/temp", "41000"),
            ],
            "acpitz",
            41.0,
        ),
    ] {
        let sysfs = Sysfs::new(files);
        let mut sensor = sysfs.sensor().unwrap();
        assert_eq!(sensor.read(0.0).unwrap().celsius, Some(celsius), "{name}");
        assert!(sensor.source().starts_with(name), "{} is not {name}", sensor.source());
    }
}

#[test]
fn without_a_believable_temperature_there_is_no_sensor() {
    for files in [
        &[][..],
        &[("class/hwmon/hwmon0/name", "nvme"), ("class/hwmon/hwmon0/temp1_input", "40000")],
        &[("class/hwmon/hwmon0/name", "coretemp"), ("class/hwmon/hwmon0/temp1_input", "hot")],
        &[("class/thermal/thermal_zone0/type", "cpu-thermal"), ("class/thermal/thermal_zone0/temp", "-274000")],
        &[("class/thermal/thermal_zone0/type", "cpu-thermal"), ("class/thermal/thermal_zone0/temp", "5000000")],
        &[("class/thermal/thermal_zone0/type", "cpu-thermal")],
        &[("class/hwmon/hwmon0/temp1_input", "40000")],
    ] {
        assert!(Sysfs::new(files).sensor().is_none(), "{files:?}");
    }
}

#[test]
fn chips_that_go_are_looked_for_again() {
    let sysfs = Sysfs::new(LAPTOP);
    let mut sensor = sysfs.sensor().unwrap();
    sysfs.remove("class/hwmon/hwmon2");
    assert_eq!(sensor.read(0.0).unwrap().celsius, Some(62.0));
    assert!(sensor.source().starts_with("x86_pkg_temp"));
    sysfs.remove("class/hwmon");
    sysfs.remove("class/thermal");
    assert!(sensor.read(1.0).unwrap_err().contains("any more"));
    sysfs.put("class/thermal/thermal_zone0/type", "x86_pkg_temp");
    sysfs.put("class/thermal/thermal_zone0/temp", "64000");
    assert_eq!(sensor.read(2.0).unwrap().celsius, Some(64.0));
}

#[test]
fn slowing_is_seen_in_counters_cooling_and_firmware() {
    let sysfs = Sysfs::new(LAPTOP);
    for cpu in 0..4 {
        sysfs.put(&format!("devices/system/cpu/cpu{cpu}/topology/physical_package_id"), &(cpu / 2).to_string());
        sysfs.put(&format!("devices/system/cpu/cpu{cpu}/thermal_throttle/package_throttle_count"), "7");
    }
    let mut throttle = Throttle::find(sysfs.0.path()).unwrap();
    assert!(!throttle.read());
    sysfs.put("devices/system/cpu/cpu2/thermal_throttle/package_throttle_count", "9");
    assert!(throttle.read());
    assert!(!throttle.read());
    sysfs.put("class/thermal/cooling_device0/cur_state", "1");
    assert!(throttle.read());
    sysfs.put("class/thermal/cooling_device0/cur_state", "-1");
    assert!(!throttle.read());

    let pi = "devices/platform/soc/soc:firmware/get_throttled";
    let sysfs = Sysfs::new(&[(pi, "50000")]);
    let mut throttle = Throttle::find(sysfs.0.path()).unwrap();
    assert!(!throttle.read(), "it was slowed once, not now");
    sysfs.put(pi, "0x4");
    assert!(throttle.read());
    sysfs.put(pi, "1");
    assert!(!throttle.read(), "low voltage is not heat");
    assert!(Throttle::find(Sysfs::new(&[]).0.path()).is_none());
}

#[test]
fn power_is_the_processors_then_the_chips_then_the_batterys() {
    let sysfs = Sysfs::new(LAPTOP);
    let chip = sysfs.0.path().join("class/hwmon/hwmon2");
    let power = || Power::find(sysfs.0.path(), &chip).unwrap();
    let mut battery = power();
    assert_eq!(battery.read(0.0), None, "a charging battery gives nothing");
    sysfs.put("class/power_supply/BAT0/status", "Discharging");
    assert_eq!(battery.read(1.0), Some(12.5));
    sysfs.remove("class/power_supply/BAT0/power_now");
    sysfs.put("class/power_supply/BAT0/current_now", "-1000000");
    sysfs.put("class/power_supply/BAT0/voltage_now", "11400000");
    assert!((battery.read(2.0).unwrap() - 11.4).abs() < 1e-3);

    sysfs.put("class/hwmon/hwmon2/power1_input", "21000000");
    assert_eq!(power().read(0.0), Some(21.0));

    sysfs.put("class/powercap/intel-rapl:0/name", "package-0");
    sysfs.put("class/powercap/intel-rapl:0/energy_uj", "1000000");
    sysfs.put("class/powercap/intel-rapl:0/max_energy_range_uj", "100000000");
    sysfs.put("class/powercap/intel-rapl:0:0/name", "core");
    sysfs.put("class/powercap/intel-rapl:0:0/energy_uj", "500000");
    let mut counters = power();
    assert_eq!(counters.name(), "processor");
    assert_eq!(counters.read(10.0), None, "one value is no rate");
    sysfs.put("class/powercap/intel-rapl:0/energy_uj", "31000000");
    assert_eq!(counters.read(12.0), Some(15.0));
    sysfs.put("class/powercap/intel-rapl:0/energy_uj", "11000000");
    assert_eq!(counters.read(14.0), Some(40.0), "the counter began anew at 100 J");
    assert_eq!(counters.read(14.0), None, "no time has passed");
    sysfs.put("class/powercap/intel-rapl:0/energy_uj", "?");
    assert_eq!(counters.read(15.0), None);
}

#[test]
fn the_battery_is_that_of_the_machine() {
    let sysfs = Sysfs::new(LAPTOP);
    let power = || supply(sysfs.0.path()).unwrap();
    assert!(!power().on_battery);
    assert_eq!(power().charge_percent, Some(75.0));
    sysfs.put("class/power_supply/BAT0/status", "Discharging");
    assert!(power().on_battery);
    sysfs.remove("class/power_supply/BAT0/energy_now");
    sysfs.put("class/power_supply/BAT0/capacity", "74");
    assert_eq!(power().charge_percent, Some(74.0));
    sysfs.put("class/power_supply/BAT0/capacity", "9000");
    assert_eq!(power().charge_percent, None);
    sysfs.remove("class/power_supply/BAT0");
    assert_eq!(supply(sysfs.0.path()), None);
}
