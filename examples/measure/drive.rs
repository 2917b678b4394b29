//! A file on Drive, through rill and straight from the same stand-in by curl.

use crate::Result;
use crate::bench::{Bench, GIB};
use crate::clients::curl;
use crate::table::{alone, line, median};

impl Bench {
    pub(crate) fn drive_throughput(&self, rounds: usize) -> Result<()> {
        let (mut ours, mut cpu, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let before = self.rill.cpu()?;
            let seconds = self.curl_rill("0-", "%{time_total}")?;
            cpu.push((self.rill.cpu()? - before) / (GIB as f64 / 1e9));
            ours.push(GIB as f64 / 1e9 / seconds);
            theirs.push(GIB as f64 / 1e9 / self.curl_straight("0-", "%{time_total}")?);
        }
        line(
            "Drive over TLS, 1 GiB",
            "GB/s",
            median(ours),
            median(theirs),
            ">= 0.6",
        );
        alone("Drive over TLS, CPU of rill", "s/GB", median(cpu), "<= 0.8");
        Ok(())
    }

    pub(crate) fn drive_first_byte(&self, rounds: usize) -> Result<()> {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for n in 0..rounds as u64 * 5 {
            // Offsets away from the head and the tail, which rill may have kept.
            let from = GIB / 4 + n * 7_654_321;
            let range = format!("{from}-{}", from + 65_535);
            ours.push(self.curl_rill(&range, "%{time_starttransfer}")? * 1e3);
            theirs.push(self.curl_straight(&range, "%{time_starttransfer}")? * 1e3);
        }
        let (ours, theirs) = (median(ours), median(theirs));
        line(
            "Drive over TLS, time to first byte",
            "ms",
            ours,
            theirs,
            "+ 5 ms",
        );
        Ok(())
    }

    pub(crate) fn curl_rill(&self, range: &str, figure: &str) -> Result<f64> {
        let url = format!(
            "http://127.0.0.1:{}/drive/files/{}",
            self.rill.port, self.drive.file
        );
        curl(&["-r", range, "-w", figure, &url])
    }

    pub(crate) fn curl_straight(&self, range: &str, figure: &str) -> Result<f64> {
        let url = format!(
            "{}/drive/v3/files/{}?alt=media&supportsAllDrives=true",
            self.drive.endpoint, self.drive.file
        );
        let token = format!("Authorization: Bearer {}", self.drive.token);
        curl(&[
            "--http1.1",
            "--cacert",
            &self.drive.ca_file,
            "-H",
            &token,
            "-r",
            range,
            "-w",
            figure,
            &url,
        ])
    }
}
