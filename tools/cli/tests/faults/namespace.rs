//! A network of its own. It lasts as long as somebody holds it or a process lives in it, so nothing is
//! left behind by a test that is killed.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace.
#[derive(Debug)]
pub(crate) struct Namespace(File);

impl Namespace {
    /// Makes an empty one.
    ///
    /// # Errors
    /// What the machine forbids.
    pub(crate) fn new() -> io::Result<Namespace> {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "echo there; cat"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut holder = command.spawn()?;
        // It is in its namespace as soon as it speaks.
        let mut byte = [0];
        let output = holder.stdout.as_mut().expect("it is piped");
        let spoke = output.read_exact(&mut byte);
        let opened = spoke.and_then(|()| File::open(format!("/proc/{}/ns/net", holder.id())));
        let _ = holder.kill();
        let _ = holder.wait();
        let namespace = Namespace(opened?);
        namespace.inside(|| ())?;
        Ok(namespace)
    }

    /// Moves this thread into it; threads and processes that it starts from then on are there too.
    ///
    /// # Errors
    /// What the machine forbids.
    pub(crate) fn enter(&self) -> io::Result<()> {
        move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(())
    }

    /// Does something inside.
    ///
    /// # Errors
    /// What the machine forbids.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        thread::scope(|scope| {
            let thread = scope.spawn(|| self.enter().map(|()| work()));
            thread.join().expect("work in a namespace does not panic")
        })
    }
}
