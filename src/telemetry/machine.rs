//! Memory and load of this process and of the machine.

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::supply::Supply;
use crate::protocol::{MachineFigures, MachineMemory};

/// Asks the system; remembers what shares of time are computed from.
pub(super) struct Machine {
    /// None if the system tells nothing.
    known: Option<(System, Pid)>,
    /// This process may use less memory than the machine has.
    limited: bool,
    /// Shares of time need two looks.
    looked_before: bool,
    supply: Supply,
}

impl Machine {
    pub(super) fn new(supply: Supply) -> Self {
        let known = System::new().ok().zip(sysinfo::get_current_pid().ok());
        Self { known, limited: false, looked_before: false, supply }
    }

    pub(super) fn read(&mut self, now_s: f64) -> MachineFigures {
        let power = self.supply.read(now_s);
        let Some((system, pid)) = &mut self.known else { return MachineFigures { power, ..Default::default() } };
        system.refresh_memory();
        system.refresh_cpu_usage();
        let kind = ProcessRefreshKind::nothing().with_memory().with_cpu().without_tasks();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[*pid]), false, kind);
        let whole = (system.total_memory(), system.used_memory());
        let limits = (self.limited || !self.looked_before).then(|| system.cgroup_limits()).flatten();
        let limits = limits.filter(|limits| limits.total_memory > 0 && limits.total_memory < whole.0);
        self.limited = limits.is_some();
        let (total, used) = limits.map_or(whole, |limits| (limits.total_memory, limits.rss));
        let process = system.process(*pid);
        let memory =
            process.filter(|_| total > 0).map(|process| MachineMemory { process: process.memory(), used, total });
        let share = |percent: f32| (self.looked_before && percent.is_finite()).then_some(percent);
        let figures = MachineFigures {
            memory,
            process_cpu_percent: process.and_then(|process| share(process.cpu_usage())),
            machine_cpu_percent: share(system.global_cpu_usage()),
            power,
        };
        self.looked_before = true;
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_of_this_process_and_hang_together() {
        let mut machine = Machine::new(Supply::none());
        let first = machine.read(0.0);
        let memory = first.memory.unwrap();
        assert!(memory.process > 1 << 20 && memory.process < memory.total, "{memory:?}");
        assert!(memory.used <= memory.total, "{memory:?}");
        assert_eq!((first.process_cpu_percent, first.machine_cpu_percent), (None, None), "one look is no share");
        let held = vec![1u8; 64 << 20];
        assert!(held.iter().map(|b| u64::from(*b)).sum::<u64>() == 64 << 20);
        std::thread::sleep(sysinfo::MINIMUM_CPU_UPDATE_INTERVAL);
        let second = machine.read(1.0);
        assert!(second.memory.unwrap().process >= memory.process + (48 << 20));
        assert!(second.process_cpu_percent.unwrap() > 0.0);
        assert!((0.0..=100.0).contains(&second.machine_cpu_percent.unwrap()));
        drop(held);
    }
}
