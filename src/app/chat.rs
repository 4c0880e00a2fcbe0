//! The conversation on the screen: the same tree that is kept on disk.

pub use crate::chat::{Change, Chat, End, Node, NodeId, TokenRecord};
