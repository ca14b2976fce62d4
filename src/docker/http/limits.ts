/**
 * Every bound of the HTTP front. A client, with or without a certificate, is treated as hostile until its head has been
 * parsed, and its bytes never pile up: what is not consumed stays in the kernel's socket buffer.
 */

/** Bytes of request line and header fields together. X-Registry-Config carries one entry per registry a client knows. */
export const MAX_HEAD_BYTES = 128 * 1024;
/** Bytes of one header field or of the request line. */
export const MAX_LINE_BYTES = 64 * 1024;
export const MAX_HEADER_COUNT = 128;
/** Bytes of one chunk-size line, with its extensions. */
export const MAX_CHUNK_LINE_BYTES = 1024;
/** Bytes of the trailer section after the last chunk. */
export const MAX_TRAILER_BYTES = 8 * 1024;

/** Reading from the socket stops when this many bytes wait for their consumer, and goes on at half of it. */
export const RECEIVE_HIGH_WATER_BYTES = 256 * 1024;

/** Milliseconds from the first byte of a head (or from accept, TLS handshake included) to its end. */
export const HEAD_TIMEOUT_MS = 20_000;
/** Milliseconds a kept-alive connection may wait for its next request. */
export const IDLE_TIMEOUT_MS = 120_000;
/** Milliseconds a client may leave a complete (not streamed) response unread. */
export const RESPONSE_STALL_TIMEOUT_MS = 60_000;
/** Milliseconds to wait for the client's end of stream after ours, so that a reset does not destroy what it still reads. */
export const LINGER_TIMEOUT_MS = 5_000;
/** Milliseconds for the last bytes of a closed connection to leave before it is cut. */
export const CLOSE_TIMEOUT_MS = 60_000;
/** How often deadlines are checked. */
export const DEADLINE_CHECK_INTERVAL_MS = 1_000;

/** An unread request body of at most this size is skipped to keep the connection; a longer one costs the connection. */
export const MAX_SKIPPED_BODY_BYTES = 256 * 1024;

/**
 * Open connections of one server. One more takes the place of the connection that has waited longest for a request; while requests
 * are under way on all of them, it is answered 503 and closed.
 */
export const MAX_CONNECTIONS = 4096;

/** Milliseconds that running requests get to end when the server closes. */
export const CLOSE_GRACE_MS = 2_000;

/** Response chunks up to this size are copied into one write together with their framing. */
export const COALESCE_BYTES = 64 * 1024;
