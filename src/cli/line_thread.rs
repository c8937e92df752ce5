//! A thread that writes lines to an output, so that nobody else has to wait for its reader.
//!
//! Guarantees: lines are written whole and in the order in which they came. [`LineThread::offer`] never waits: while the output
//! takes nothing, [`MOST_BYTES`] are kept and later lines are counted as lost; the count is written as soon as the output takes
//! lines again. An error of the output is handed to the caller's function and stops nothing.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::sync::{lock, wait_while};

/// How many bytes wait for an output that takes nothing.
const MOST_BYTES: usize = 1 << 20;

/// Forever, for a wait without a limit.
const NO_LIMIT: Duration = Duration::from_secs(u32::MAX as u64);

/// The thread that writes, as seen by those who have lines to write.
#[derive(Debug, Clone)]
pub(super) struct LineThread(Arc<Lines>);

#[derive(Debug, Default)]
struct Lines {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Lines that were taken into the queue, and how many of them have been written, or could not be.
    taken: u64,
    done: u64,
    /// Lines that were not taken since the loss was last reported.
    lost: u64,
}

impl LineThread {
    /// Starts the thread. `failed` is called with each error of the output; `loss` makes the line that says how many were lost.
    pub(super) fn start(
        name: &str,
        mut output: impl Write + Send + 'static,
        failed: impl Fn(io::Error) + Send + 'static,
        loss: impl Fn(u64) -> String + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Lines::default());
        let queue = Arc::clone(&shared);
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            loop {
                let (line, lost) = queue.next();
                for bytes in lost.map(|lost| loss(lost).into_bytes()).into_iter().chain([line]) {
                    if let Err(error) = output.write_all(&bytes).and_then(|()| output.flush()) {
                        failed(error);
                    }
                }
                queue.done();
            }
        })?;
        Ok(Self(shared))
    }

    /// Gives a line to the thread. Never waits; false if there is no room and the line is lost.
    pub(super) fn offer(&self, line: Vec<u8>) -> bool {
        let mut waiting = lock(&self.0.waiting);
        if waiting.bytes + line.len() > MOST_BYTES {
            waiting.lost += 1;
            return false;
        }
        waiting.push(line);
        drop(waiting);
        self.0.changed.notify_all();
        true
    }

    /// Gives a line to the thread and waits until it is written, however long that takes.
    pub(super) fn put(&self, line: Vec<u8>) {
        lock(&self.0.waiting).push(line);
        self.0.changed.notify_all();
        while !self.flush(NO_LIMIT) {}
    }

    /// Waits until the lines so far are written, at most `limit`. False if some are not, or were lost and nobody has been told.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let waiting = lock(&self.0.waiting);
        let taken = waiting.taken;
        let waiting = wait_while(&self.0.changed, waiting, limit, |waiting| waiting.done < taken);
        waiting.done >= taken && waiting.lost == 0
    }
}

impl Waiting {
    fn push(&mut self, line: Vec<u8>) {
        self.bytes += line.len();
        self.taken += 1;
        self.lines.push_back(line);
    }
}

impl Lines {
    /// Waits for a line. With it comes how many were lost since the last one was taken.
    fn next(&self) -> (Vec<u8>, Option<u64>) {
        let mut waiting = lock(&self.waiting);
        loop {
            if let Some(line) = waiting.lines.pop_front() {
                waiting.bytes -= line.len();
                let lost = std::mem::take(&mut waiting.lost);
                return (line, (lost > 0).then_some(lost));
            }
            waiting = wait_while(&self.changed, waiting, NO_LIMIT, |waiting| waiting.lines.is_empty());
        }
    }

    fn done(&self) {
        lock(&self.waiting).done += 1;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, pipe};
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    fn start(output: impl Write + Send + 'static) -> LineThread {
        LineThread::start("lines", output, |_| {}, |lost| format!("{lost} lost\n")).unwrap()
    }

    #[test]
    fn an_output_that_takes_nothing_makes_nobody_wait_and_the_loss_is_told() {
        let (reader, writer) = pipe().unwrap();
        let lines = start(writer);
        let line = vec![b'x'; 1023];
        let line = [line, vec![b'\n']].concat();
        let given = 3 * MOST_BYTES / line.len();
        let taken = (0..given).filter(|_| lines.offer(line.clone())).count();
        assert!(taken < given, "the queue has no bound");
        assert!(!lines.flush(Duration::from_millis(1)), "written to nobody");
        let lost = given - taken;
        let told = BufReader::new(reader).lines().map(Result::unwrap).find(|line| line.ends_with(" lost"));
        assert_eq!(told, Some(format!("{lost} lost")));
    }

    #[test]
    fn what_was_put_is_written() {
        let (mut reader, writer) = pipe().unwrap();
        let lines = start(writer);
        lines.put(b"one\n".to_vec());
        lines.put(b"two\n".to_vec());
        let mut read = [0; 8];
        io::Read::read_exact(&mut reader, &mut read).unwrap();
        assert_eq!(&read, b"one\ntwo\n");
    }

    #[test]
    fn an_error_is_handed_over_and_stops_nothing() {
        struct Refuses(Sender<Vec<u8>>);
        impl Write for Refuses {
            fn write(&mut self, line: &[u8]) -> io::Result<usize> {
                self.0.send(line.to_vec()).unwrap();
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let ((given, seen), (errors, kinds)) = (channel(), channel());
        let output = Refuses(given);
        let failed = move |error: io::Error| errors.send(error.kind()).unwrap();
        let lines = LineThread::start("lines", output, failed, |_| String::new()).unwrap();
        for line in ["one\n", "two\n"] {
            lines.put(line.into());
        }
        assert_eq!(seen.try_iter().collect::<Vec<_>>(), [b"one\n", b"two\n"]);
        assert_eq!(kinds.try_iter().collect::<Vec<_>>(), [io::ErrorKind::StorageFull; 2]);
    }
}
