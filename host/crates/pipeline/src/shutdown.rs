//! One signal that ends the loops between two steps.

use std::time::Duration;

use tokio::sync::watch;

/// Tells every loop of a process, or of one task, to end.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Sender<bool>);

/// What a loop watches.
#[derive(Debug, Clone)]
pub struct Ending(watch::Receiver<bool>);

impl Default for Shutdown {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Shutdown {
    pub fn begin(&self) {
        self.0.send_replace(true);
    }

    pub fn ending(&self) -> Ending {
        Ending(self.0.subscribe())
    }
}

impl Ending {
    /// Whether the end has begun. It has, too, if whoever could begin it is gone.
    pub fn has_begun(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Returns when the end has begun.
    pub async fn begun(&mut self) {
        let _ = self.0.wait_for(|begun| *begun).await;
    }

    /// Waits, but not beyond the end's beginning.
    pub async fn sleep(&mut self, time: Duration) {
        tokio::select! {
            biased;
            () = self.begun() => {}
            () = tokio::time::sleep(time) => {}
        }
    }
}
