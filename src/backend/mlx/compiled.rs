//! Functions of arrays that MLX may compile: it then joins their elementwise operations into a few kernels.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use anyhow::Result;
use mlx_rs::Array;
use mlx_rs::error::Exception;
use mlx_rs::transforms::compile::compile;

use super::ops::Said;

/// What is computed. It holds nothing: MLX would compile an array that it held as a constant.
type Body = fn(&[Array]) -> Result<Vec<Array>>;

/// A function, compiled or as it is.
pub(crate) struct Function {
    name: &'static str,
    body: Body,
    compiled: Option<RefCell<Compiled>>,
}

/// MLX keeps what it compiled for each shape of the inputs, as long as this lives and on this thread.
type Call = dyn FnMut(&[Array]) -> Result<Vec<Array>, Exception>;

struct Compiled {
    call: Box<Call>,
    /// Why the body failed: MLX only says that it did.
    why: Rc<Cell<Option<String>>>,
}

impl Function {
    /// `name` is what errors call it.
    pub(crate) fn new(name: &'static str, body: Body, compiled: bool) -> Self {
        Self { name, body, compiled: compiled.then(|| RefCell::new(Compiled::new(body))) }
    }

    pub(crate) fn is_compiled(&self) -> bool {
        self.compiled.is_some()
    }

    pub(crate) fn call(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        match &self.compiled {
            Some(compiled) => compiled.borrow_mut().call(inputs).said(self.name, &inputs.iter().collect::<Vec<_>>()),
            None => (self.body)(inputs),
        }
    }
}

impl Compiled {
    fn new(body: Body) -> Self {
        let why = Rc::new(Cell::new(None));
        let keep = why.clone();
        let told = move |inputs: &[Array]| {
            body(inputs).map_err(|error| {
                keep.set(Some(format!("{error:#}")));
                Exception::custom("it could not be compiled")
            })
        };
        Self { call: Box::new(compile(told, None)), why }
    }

    fn call(&mut self, inputs: &[Array]) -> Result<Vec<Array>, String> {
        (self.call)(inputs).map_err(|error| self.why.take().unwrap_or_else(|| error.what().to_owned()))
    }
}
