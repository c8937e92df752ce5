//! Takes buffers from the driver, one at a time. Each wait has a limit.
//!
//! Guarantees: a wait ends at its limit. Dropping a stream never panics.
//! Leaves out: the first buffer of a stream. v4l hands out a buffer only in the call that gives the one before it back,
//! and right after the start there is none to give back.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use v4l::buffer::{Flags, Metadata, Type};
use v4l::device::Handle;
use v4l::io::traits::{CaptureStream, Stream as _};
use v4l::prelude::MmapStream;

use super::frame_checks::Buffer;
use crate::capture::Stamp;

/// The number of buffers: enough for the driver to write one while another is decoded and the rest wait.
const BUFFERS: u32 = 4;

pub(super) struct Stream {
    handle: Arc<Handle>,
    /// `None` once the stream is closed.
    mapped: Option<MmapStream<'static>>,
    /// Whether a buffer was taken that goes back to the driver with the next call.
    holds: bool,
}

impl Stream {
    pub(super) fn start(device: &v4l::Device) -> io::Result<Self> {
        let mut mapped = MmapStream::with_buffers(device, Type::VideoCapture, BUFFERS)?;
        mapped.set_timeout(Duration::ZERO);
        let mut stream = Self { handle: device.handle(), mapped: Some(mapped), holds: false };
        match stream.mapped.as_mut().map(|mapped| mapped.next().map(drop)) {
            Some(Err(error)) if error.kind() != io::ErrorKind::TimedOut => Err(error),
            first => {
                stream.holds = matches!(first, Some(Ok(())));
                Ok(stream)
            }
        }
    }

    /// The next buffer, if one comes within `wait`. After an error the stream cannot be used any more.
    pub(super) fn next(&mut self, wait: Duration) -> io::Result<Option<Buffer<'_>>> {
        let Self { handle, mapped: Some(mapped), holds } = self else {
            return Ok(None);
        };
        if !is_ready(handle, wait)? {
            return Ok(None);
        }
        if !*holds {
            mapped.dequeue()?;
            *holds = true;
            return Ok(None);
        }
        let (bytes, metadata) = mapped.next()?;
        let used = bytes.len().min(metadata.bytesused as usize);
        Ok(Some(Buffer {
            bytes: &bytes[..used],
            sequence: metadata.sequence,
            marked_broken: metadata.flags.contains(Flags::ERROR),
            exposed: exposed(metadata),
            newer_waits: is_ready(handle, Duration::ZERO)?,
            at_start: metadata.flags.contains(Flags::TSTAMP_SRC_SOE),
        }))
    }
}

/// Whether a buffer is waiting, or an error, within the limit.
fn is_ready(handle: &Handle, wait: Duration) -> io::Result<bool> {
    // Rounded up, so that a wait of less than a millisecond is not zero.
    let milliseconds = wait.as_micros().div_ceil(1000).try_into().unwrap_or(i32::MAX);
    match handle.poll(libc::POLLIN, milliseconds) {
        Ok(ready) => Ok(ready > 0),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
        Err(error) => Err(error),
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let Some(mut mapped) = self.mapped.take() else {
            return;
        };
        match mapped.stop() {
            Err(error) if error.raw_os_error() != Some(libc::ENODEV) => {
                tracing::error!(
                    "camera: the driver does not stop its stream: {error}; its buffers stay in use until this program ends"
                );
                // v4l would try again and panic.
                std::mem::forget(mapped);
            }
            _ => drop(mapped),
        }
    }
}

/// When the frame was exposed: the driver's time if its clock is the monotonic one, otherwise now.
fn exposed(metadata: &Metadata) -> Stamp {
    let now = Stamp::now();
    if metadata.flags & Flags::TIMESTAMP_MASK != Flags::TIMESTAMP_MONOTONIC {
        return now;
    }
    let clock = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let micros = |seconds: i64, micros: i64| seconds.saturating_mul(1_000_000).saturating_add(micros);
    let age = micros(clock.tv_sec, clock.tv_nsec / 1000)
        .saturating_sub(micros(metadata.timestamp.sec, metadata.timestamp.usec));
    // A time in the future is a fault of the driver's clock.
    aged(now, Duration::from_micros(age.try_into().unwrap_or(0)))
}

/// The time stamp of a frame of this age. An age that the clocks cannot express counts as now.
fn aged(now: Stamp, age: Duration) -> Stamp {
    let monotonic: Option<Instant> = now.monotonic.checked_sub(age);
    match monotonic.zip(now.wall.checked_sub(age).ok()) {
        Some((monotonic, wall)) => Stamp { wall, monotonic },
        None => now,
    }
}

#[cfg(test)]
mod tests {
    use v4l::Timestamp;

    use super::*;

    fn metadata(flags: Flags, age: Duration) -> Metadata {
        let clock = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = clock.tv_sec * 1_000_000 + clock.tv_nsec / 1000 - age.as_micros() as i64;
        let timestamp = Timestamp::new(micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
        Metadata { flags, timestamp, ..Metadata::default() }
    }

    #[test]
    fn a_monotonic_time_dates_the_frame_back_on_both_clocks() {
        let age = Duration::from_millis(250);
        let (before, stamp) = (Stamp::now(), exposed(&metadata(Flags::TIMESTAMP_MONOTONIC, age)));
        let back = before.monotonic.duration_since(stamp.monotonic);
        assert!(back.abs_diff(age) < Duration::from_millis(50), "{back:?}");
        let wall = before.wall.duration_since(stamp.wall).unsigned_abs();
        assert!(wall.abs_diff(age) < Duration::from_millis(50), "{wall:?}");
    }

    #[test]
    fn other_clocks_and_times_in_the_future_count_as_now() {
        for flags in [Flags::TIMESTAMP_UNKNOWN, Flags::TIMESTAMP_COPY, Flags::TIMESTAMP_MASK] {
            let before = Instant::now();
            assert!(exposed(&metadata(flags, Duration::from_secs(5))).monotonic >= before, "{flags}");
        }
        let before = Instant::now();
        let mut ahead = metadata(Flags::TIMESTAMP_MONOTONIC, Duration::ZERO);
        ahead.timestamp.sec += 100;
        assert!(exposed(&ahead).monotonic >= before);
    }
}
