//! The names of [`super`]: tables from the kernel's words to node_exporter's metrics.

use procfs::DiskStat;
use procfs::net::DeviceStatus;

use super::super::column::{Metric, counter, gauge};

pub(super) static MACHINE_CORES: Metric = gauge("machine_cpu_cores", "Number of logical CPU cores.");
pub(super) static MACHINE_MEMORY: Metric = gauge("machine_memory_bytes", "Memory of the machine, in bytes.");

/// Columns of a `cpu<n>` line of `/proc/stat`; two more are guest times.
pub(super) const CPU_MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
pub(super) static CPU: Metric = counter("node_cpu_seconds_total", "Seconds the CPUs spent in each mode.");
pub(super) static CPU_GUEST: Metric = counter("node_cpu_guest_seconds_total", "Seconds the CPUs spent in guests for each mode.");

/// Other lines of `/proc/stat`.
pub(super) static STAT: [(&str, Metric); 6] = [
    ("btime", gauge("node_boot_time_seconds", "When the node was booted, in Unix seconds.")),
    ("ctxt", counter("node_context_switches_total", "Context switches.")),
    ("intr", counter("node_intr_total", "Interrupts serviced.")),
    ("processes", counter("node_forks_total", "Forks.")),
    ("procs_running", gauge("node_procs_running", "Processes in runnable state.")),
    ("procs_blocked", gauge("node_procs_blocked", "Processes blocked for I/O to complete.")),
];

/// `/proc/loadavg`.
pub(super) static LOAD: [Metric; 3] =
    [gauge("node_load1", "1m load average."), gauge("node_load5", "5m load average."), gauge("node_load15", "15m load average.")];
pub(super) static FILES: Metric = gauge("node_filefd_allocated", "File descriptors allocated.");
pub(super) static FILES_MAX: Metric = gauge("node_filefd_maximum", "Most file descriptors allowed.");

/// Lines of `/proc/vmstat`.
pub(super) static VMSTAT: [(&str, Metric); 7] = [
    ("oom_kill", counter("node_vmstat_oom_kill", "/proc/vmstat oom_kill.")),
    ("pgfault", counter("node_vmstat_pgfault", "/proc/vmstat pgfault.")),
    ("pgmajfault", counter("node_vmstat_pgmajfault", "/proc/vmstat pgmajfault.")),
    ("pgpgin", counter("node_vmstat_pgpgin", "/proc/vmstat pgpgin.")),
    ("pgpgout", counter("node_vmstat_pgpgout", "/proc/vmstat pgpgout.")),
    ("pswpin", counter("node_vmstat_pswpin", "/proc/vmstat pswpin.")),
    ("pswpout", counter("node_vmstat_pswpout", "/proc/vmstat pswpout.")),
];

/// Numbers of a disk; the last six are missing on kernels before 4.18 and 5.5.
type OfDisk = fn(&DiskStat) -> Option<f64>;
pub(super) static DISK: [(Metric, OfDisk); 17] = [
    (counter("node_disk_reads_completed_total", "Reads completed."), |disk| Some(count(disk.reads))),
    (counter("node_disk_reads_merged_total", "Reads merged."), |disk| Some(count(disk.merged))),
    (counter("node_disk_read_bytes_total", "Bytes read."), |disk| Some(bytes(disk.sectors_read))),
    (counter("node_disk_read_time_seconds_total", "Seconds spent by all reads."), |disk| Some(seconds(disk.time_reading))),
    (counter("node_disk_writes_completed_total", "Writes completed."), |disk| Some(count(disk.writes))),
    (counter("node_disk_writes_merged_total", "Writes merged."), |disk| Some(count(disk.writes_merged))),
    (counter("node_disk_written_bytes_total", "Bytes written."), |disk| Some(bytes(disk.sectors_written))),
    (counter("node_disk_write_time_seconds_total", "Seconds spent by all writes."), |disk| Some(seconds(disk.time_writing))),
    (gauge("node_disk_io_now", "I/Os in progress."), |disk| Some(count(disk.in_progress))),
    (counter("node_disk_io_time_seconds_total", "Seconds spent doing I/Os."), |disk| Some(seconds(disk.time_in_progress))),
    (counter("node_disk_io_time_weighted_seconds_total", "Weighted seconds spent doing I/Os."), |disk| {
        Some(seconds(disk.weighted_time_in_progress))
    }),
    (counter("node_disk_discards_completed_total", "Discards completed."), |disk| disk.discards.map(count)),
    (counter("node_disk_discards_merged_total", "Discards merged."), |disk| disk.discards_merged.map(count)),
    (counter("node_disk_discarded_sectors_total", "Sectors discarded."), |disk| disk.sectors_discarded.map(count)),
    (counter("node_disk_discard_time_seconds_total", "Seconds spent by all discards."), |disk| disk.time_discarding.map(seconds)),
    (counter("node_disk_flush_requests_total", "Flush requests completed."), |disk| disk.flushes.map(count)),
    (counter("node_disk_flush_requests_time_seconds_total", "Seconds spent by all flush requests."), |disk| {
        disk.time_flushing.map(seconds)
    }),
];

fn count(value: u64) -> f64 {
    value as f64
}

/// The kernel counts times in ms.
fn seconds(millis: u64) -> f64 {
    millis as f64 * 0.001
}

/// A sector has 512 bytes whatever the device's own size.
fn bytes(sectors: u64) -> f64 {
    sectors as f64 * 512.0
}

/// Numbers of a network device.
type OfDevice = fn(&DeviceStatus) -> u64;
pub(super) static NETWORK: [(Metric, OfDevice); 16] = [
    (counter("node_network_receive_bytes_total", "Network device statistic receive_bytes."), |device| device.recv_bytes),
    (counter("node_network_receive_packets_total", "Network device statistic receive_packets."), |device| device.recv_packets),
    (counter("node_network_receive_errs_total", "Network device statistic receive_errs."), |device| device.recv_errs),
    (counter("node_network_receive_drop_total", "Network device statistic receive_drop."), |device| device.recv_drop),
    (counter("node_network_receive_fifo_total", "Network device statistic receive_fifo."), |device| device.recv_fifo),
    (counter("node_network_receive_frame_total", "Network device statistic receive_frame."), |device| device.recv_frame),
    (counter("node_network_receive_compressed_total", "Network device statistic receive_compressed."), |device| {
        device.recv_compressed
    }),
    (counter("node_network_receive_multicast_total", "Network device statistic receive_multicast."), |device| {
        device.recv_multicast
    }),
    (counter("node_network_transmit_bytes_total", "Network device statistic transmit_bytes."), |device| device.sent_bytes),
    (counter("node_network_transmit_packets_total", "Network device statistic transmit_packets."), |device| device.sent_packets),
    (counter("node_network_transmit_errs_total", "Network device statistic transmit_errs."), |device| device.sent_errs),
    (counter("node_network_transmit_drop_total", "Network device statistic transmit_drop."), |device| device.sent_drop),
    (counter("node_network_transmit_fifo_total", "Network device statistic transmit_fifo."), |device| device.sent_fifo),
    (counter("node_network_transmit_colls_total", "Network device statistic transmit_colls."), |device| device.sent_colls),
    (counter("node_network_transmit_carrier_total", "Network device statistic transmit_carrier."), |device| device.sent_carrier),
    (counter("node_network_transmit_compressed_total", "Network device statistic transmit_compressed."), |device| {
        device.sent_compressed
    }),
];

/// Some and full, for CPU, memory and I/O.
pub(super) static PRESSURE: [(Metric, Option<Metric>); 3] = [
    (counter("node_pressure_cpu_waiting_seconds_total", "Seconds in which some task waited for CPU."), None),
    (
        counter("node_pressure_memory_waiting_seconds_total", "Seconds in which some task waited for memory."),
        Some(counter("node_pressure_memory_stalled_seconds_total", "Seconds in which no task got on for lack of memory.")),
    ),
    (
        counter("node_pressure_io_waiting_seconds_total", "Seconds in which some task waited for I/O."),
        Some(counter("node_pressure_io_stalled_seconds_total", "Seconds in which no task got on for I/O.")),
    ),
];

/// Size, free, available, inodes, free inodes.
pub(super) static FILESYSTEM: [Metric; 5] = [
    gauge("node_filesystem_size_bytes", "File system size, in bytes."),
    gauge("node_filesystem_free_bytes", "File system free space, in bytes."),
    gauge("node_filesystem_avail_bytes", "File system space for users who are not root, in bytes."),
    gauge("node_filesystem_files", "Inodes."),
    gauge("node_filesystem_files_free", "Free inodes."),
];
pub(super) static FILESYSTEM_READ_ONLY: Metric = gauge("node_filesystem_readonly", "Whether the file system is read-only.");
pub(super) static FILESYSTEM_ERROR: Metric = gauge("node_filesystem_device_error", "Whether its size could not be learned.");
pub(super) static UNAME: Metric = gauge("node_uname_info", "The system, as uname(2) tells it; always 1.");
pub(super) static TIME: Metric = gauge("node_time_seconds", "The node's clock, in Unix seconds.");

/// Lines of `/proc/meminfo`.
pub(super) static MEMORY: [(&str, Metric); 54] = [
    ("Active(anon)", gauge("node_memory_Active_anon_bytes", "/proc/meminfo Active(anon).")),
    ("Active", gauge("node_memory_Active_bytes", "/proc/meminfo Active.")),
    ("Active(file)", gauge("node_memory_Active_file_bytes", "/proc/meminfo Active(file).")),
    ("AnonHugePages", gauge("node_memory_AnonHugePages_bytes", "/proc/meminfo AnonHugePages.")),
    ("AnonPages", gauge("node_memory_AnonPages_bytes", "/proc/meminfo AnonPages.")),
    ("Balloon", gauge("node_memory_Balloon_bytes", "/proc/meminfo Balloon.")),
    ("Bounce", gauge("node_memory_Bounce_bytes", "/proc/meminfo Bounce.")),
    ("Buffers", gauge("node_memory_Buffers_bytes", "/proc/meminfo Buffers.")),
    ("Cached", gauge("node_memory_Cached_bytes", "/proc/meminfo Cached.")),
    ("CommitLimit", gauge("node_memory_CommitLimit_bytes", "/proc/meminfo CommitLimit.")),
    ("Committed_AS", gauge("node_memory_Committed_AS_bytes", "/proc/meminfo Committed_AS.")),
    ("DirectMap1G", gauge("node_memory_DirectMap1G_bytes", "/proc/meminfo DirectMap1G.")),
    ("DirectMap2M", gauge("node_memory_DirectMap2M_bytes", "/proc/meminfo DirectMap2M.")),
    ("DirectMap4k", gauge("node_memory_DirectMap4k_bytes", "/proc/meminfo DirectMap4k.")),
    ("Dirty", gauge("node_memory_Dirty_bytes", "/proc/meminfo Dirty.")),
    ("FileHugePages", gauge("node_memory_FileHugePages_bytes", "/proc/meminfo FileHugePages.")),
    ("FilePmdMapped", gauge("node_memory_FilePmdMapped_bytes", "/proc/meminfo FilePmdMapped.")),
    ("HugePages_Free", gauge("node_memory_HugePages_Free", "/proc/meminfo HugePages_Free.")),
    ("HugePages_Rsvd", gauge("node_memory_HugePages_Rsvd", "/proc/meminfo HugePages_Rsvd.")),
    ("HugePages_Surp", gauge("node_memory_HugePages_Surp", "/proc/meminfo HugePages_Surp.")),
    ("HugePages_Total", gauge("node_memory_HugePages_Total", "/proc/meminfo HugePages_Total.")),
    ("Hugepagesize", gauge("node_memory_Hugepagesize_bytes", "/proc/meminfo Hugepagesize.")),
    ("Hugetlb", gauge("node_memory_Hugetlb_bytes", "/proc/meminfo Hugetlb.")),
    ("Inactive(anon)", gauge("node_memory_Inactive_anon_bytes", "/proc/meminfo Inactive(anon).")),
    ("Inactive", gauge("node_memory_Inactive_bytes", "/proc/meminfo Inactive.")),
    ("Inactive(file)", gauge("node_memory_Inactive_file_bytes", "/proc/meminfo Inactive(file).")),
    ("KReclaimable", gauge("node_memory_KReclaimable_bytes", "/proc/meminfo KReclaimable.")),
    ("KernelStack", gauge("node_memory_KernelStack_bytes", "/proc/meminfo KernelStack.")),
    ("Mapped", gauge("node_memory_Mapped_bytes", "/proc/meminfo Mapped.")),
    ("MemAvailable", gauge("node_memory_MemAvailable_bytes", "/proc/meminfo MemAvailable.")),
    ("MemFree", gauge("node_memory_MemFree_bytes", "/proc/meminfo MemFree.")),
    ("MemTotal", gauge("node_memory_MemTotal_bytes", "/proc/meminfo MemTotal.")),
    ("Mlocked", gauge("node_memory_Mlocked_bytes", "/proc/meminfo Mlocked.")),
    ("NFS_Unstable", gauge("node_memory_NFS_Unstable_bytes", "/proc/meminfo NFS_Unstable.")),
    ("PageTables", gauge("node_memory_PageTables_bytes", "/proc/meminfo PageTables.")),
    ("Percpu", gauge("node_memory_Percpu_bytes", "/proc/meminfo Percpu.")),
    ("SReclaimable", gauge("node_memory_SReclaimable_bytes", "/proc/meminfo SReclaimable.")),
    ("SUnreclaim", gauge("node_memory_SUnreclaim_bytes", "/proc/meminfo SUnreclaim.")),
    ("SecPageTables", gauge("node_memory_SecPageTables_bytes", "/proc/meminfo SecPageTables.")),
    ("ShmemHugePages", gauge("node_memory_ShmemHugePages_bytes", "/proc/meminfo ShmemHugePages.")),
    ("ShmemPmdMapped", gauge("node_memory_ShmemPmdMapped_bytes", "/proc/meminfo ShmemPmdMapped.")),
    ("Shmem", gauge("node_memory_Shmem_bytes", "/proc/meminfo Shmem.")),
    ("Slab", gauge("node_memory_Slab_bytes", "/proc/meminfo Slab.")),
    ("SwapCached", gauge("node_memory_SwapCached_bytes", "/proc/meminfo SwapCached.")),
    ("SwapFree", gauge("node_memory_SwapFree_bytes", "/proc/meminfo SwapFree.")),
    ("SwapTotal", gauge("node_memory_SwapTotal_bytes", "/proc/meminfo SwapTotal.")),
    ("Unevictable", gauge("node_memory_Unevictable_bytes", "/proc/meminfo Unevictable.")),
    ("VmallocChunk", gauge("node_memory_VmallocChunk_bytes", "/proc/meminfo VmallocChunk.")),
    ("VmallocTotal", gauge("node_memory_VmallocTotal_bytes", "/proc/meminfo VmallocTotal.")),
    ("VmallocUsed", gauge("node_memory_VmallocUsed_bytes", "/proc/meminfo VmallocUsed.")),
    ("WritebackTmp", gauge("node_memory_WritebackTmp_bytes", "/proc/meminfo WritebackTmp.")),
    ("Writeback", gauge("node_memory_Writeback_bytes", "/proc/meminfo Writeback.")),
    ("Zswap", gauge("node_memory_Zswap_bytes", "/proc/meminfo Zswap.")),
    ("Zswapped", gauge("node_memory_Zswapped_bytes", "/proc/meminfo Zswapped.")),
];
