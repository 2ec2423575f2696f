//! The store under bad luck: processes that die, disks that fill, files that are damaged, records of earlier releases.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod broken;
mod crash;
mod full_disk;
mod logs;
#[cfg(feature = "aws")]
mod many_hosts;
mod process;
mod records;
