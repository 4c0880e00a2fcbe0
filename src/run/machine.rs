//! Memory of this process and of the machine, asked for now and then.

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use crate::protocol::MachineMemory;

/// What asks the system.
pub(super) struct Machine {
    system: System,
    own: Pid,
}

impl Machine {
    /// None where the system does not say.
    pub(super) fn new() -> Option<Self> {
        Some(Self { system: System::new().ok()?, own: sysinfo::get_current_pid().ok()? })
    }

    pub(super) fn read(&mut self) -> MachineMemory {
        self.system.refresh_memory();
        let only_memory = ProcessRefreshKind::nothing().with_memory();
        self.system.refresh_processes_specifics(ProcessesToUpdate::Some(&[self.own]), false, only_memory);
        MachineMemory {
            process: self.system.process(self.own).map_or(0, sysinfo::Process::memory),
            used: self.system.used_memory(),
            total: self.system.total_memory(),
        }
    }
}
