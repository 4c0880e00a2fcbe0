//! A conversation, without files, clocks and screens: what happens in it, the tree that this makes,
//! and a player that walks through a recorded one in both directions.

mod change;
mod player;
mod recording;
mod tree;
mod undo;

pub use change::{Change, End, NodeId, TokenRecord};
pub use player::{Moved, Pace, Player};
pub use recording::{Moment, Recording, What};
pub use tree::{Chat, Node};
pub use undo::Undo;
