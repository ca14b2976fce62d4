/** Carries one RPCI request and its reply. Synchronous: the first exchange is what everything else waits for. */
export interface RpciTransport {
  readonly name: string;
  /** Throws when no reply came within the limit. */
  exchange(message: Uint8Array, limitMilliseconds: number): Uint8Array;
}
