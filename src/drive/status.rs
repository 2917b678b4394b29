//! What the Drive part says of itself, for health and pages.

/// What the Drive part says of itself. Never asks Google.
#[derive(Clone, Debug)]
pub struct Status {
    /// Credentials are there, and the last exchange with Google (if any) did not fail for good.
    pub available: bool,
    /// E-mail of the service account, once known.
    pub account: Option<String>,
    /// Code and sentence of what is wrong.
    pub error: Option<(&'static str, String)>,
}

/// Counters for health.
#[derive(Clone, Copy, Debug, Default)]
pub struct StreamStats {
    /// Streams open now.
    pub open: u64,
    /// Bytes held in their buffers now.
    pub buffered_bytes: u64,
    /// Bytes read from Drive since the start.
    pub upstream_bytes: u64,
    /// Bytes taken by clients since the start.
    pub client_bytes: u64,
    /// Times an upstream read was opened again at its offset.
    pub resumed: u64,
    /// Streams refused for lack of buffers.
    pub refused: u64,
}
