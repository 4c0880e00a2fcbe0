//! Number formats that a safetensors file may name.

use std::fmt;

use crate::model::matrix::Float;

macro_rules! dtypes {
    ($($variant:ident $name:literal $size:literal,)*) => {
        /// Format of a tensor's numbers, as a file names it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "the names are those of the file format")]
        pub enum Dtype { $($variant,)* }

        impl Dtype {
            /// The format with this name, if there is one.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Dtype::$variant),)* _ => None }
            }

            /// Its name in files.
            pub fn name(self) -> &'static str {
                match self { $(Dtype::$variant => $name,)* }
            }

            /// Bytes of one number.
            pub fn size(self) -> usize {
                match self { $(Dtype::$variant => $size,)* }
            }
        }
    };
}

dtypes! {
    Bool "BOOL" 1,
    U8 "U8" 1,
    I8 "I8" 1,
    F8E4m3 "F8_E4M3" 1,
    F8E5m2 "F8_E5M2" 1,
    F8E8m0 "F8_E8M0" 1,
    U16 "U16" 2,
    I16 "I16" 2,
    F16 "F16" 2,
    Bf16 "BF16" 2,
    U32 "U32" 4,
    I32 "I32" 4,
    F32 "F32" 4,
    U64 "U64" 8,
    I64 "I64" 8,
    F64 "F64" 8,
    C64 "C64" 8,
}

impl Dtype {
    /// The floating-point format, if it is one that weights may have.
    pub fn float(self) -> Option<Float> {
        match self {
            Dtype::F32 => Some(Float::F32),
            Dtype::F16 => Some(Float::F16),
            Dtype::Bf16 => Some(Float::Bf16),
            _ => None,
        }
    }
}

impl From<Float> for Dtype {
    fn from(float: Float) -> Self {
        match float {
            Float::F32 => Dtype::F32,
            Float::F16 => Dtype::F16,
            Float::Bf16 => Dtype::Bf16,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
