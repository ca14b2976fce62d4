/**
 * What engine and tether see of the control link. `session.ts` implements it over any byte stream.
 */
import type { Calls, LinkErrorCode, Streams } from "./operations.ts";

/** A request as it crosses the link. */
export type ChannelRequest = { op: string } & Record<string, unknown>;

export type ChannelMessage =
  | { kind: "control"; message: Record<string, unknown> }
  | { kind: "data"; stream: number; bytes: Uint8Array }
  /** The other side will send no more data on this stream. */
  | { kind: "end"; stream: number };

/** One ordered, flow-controlled conversation. Iterating ends at a clean close and throws LinkError at a failed one. */
export interface Channel extends AsyncIterable<ChannelMessage> {
  readonly request: ChannelRequest;
  /** Resolves when the bytes fit the peer's window: awaiting it is the back-pressure. Rejects when the channel is closed. */
  send(stream: number, bytes: Uint8Array): Promise<void>;
  end(stream: number): Promise<void>;
  control(message: Record<string, unknown>): Promise<void>;
  /** Idempotent. With an error, the peer's iteration throws it. */
  close(error?: { code: LinkErrorCode; message: string }): void;
  readonly closed: Promise<void>;
}

/** Both ends of a control link, after authentication. */
export interface LinkSession {
  call<K extends keyof Calls>(op: K, request: Calls[K]["request"]): Promise<Calls[K]["response"]>;
  open<K extends keyof Streams>(op: K, request: Streams[K]["request"]): Channel;
  /** Channels that the peer opens. */
  onChannel(handler: (channel: Channel) => void): void;
  close(reason?: string): void;
  /** Set when the session goes on over another connection after it has lost its own. */
  readonly id: string | undefined;
  /** Milliseconds since the session got its present connection; undefined while it has none. */
  readonly carriedFor: number | undefined;
  /** Resolves, never rejects, when the session is over. */
  readonly closed: Promise<{ reason: string }>;
}
