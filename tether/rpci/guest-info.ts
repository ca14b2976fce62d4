import { waitForDevice } from "../boot/uevents.ts";
import { openSerialTransport } from "./serial.ts";
import type { RpciTransport } from "./transport.ts";
import { openVsockTransport } from "./vsock.ts";

/** Milliseconds until one of the transports must be there. */
const TRANSPORT_LIMIT = 10_000;
/** Milliseconds for one exchange, and how often it is tried at boot: the host may be about to attach. */
const BOOT_LIMIT = 5000;
const BOOT_ATTEMPTS = 12;
/** Later the tether has other work: an exchange may hold it up this long (milliseconds). */
const RUNNING_LIMIT = 1500;
const RUNNING_ATTEMPTS = 5;
const RETRY_PAUSE = 500;

/** `1 VALUE` or `0 REASON`. */
const parseReply = (message: Uint8Array): { ok: true; value: string } | { ok: false; reason: string } => {
  const text = Buffer.from(message.buffer, message.byteOffset, message.length).toString();
  if (text.startsWith("1")) return { ok: true, value: text.slice(2) };
  if (text.startsWith("0")) return { ok: false, reason: text.slice(2) };
  throw new Error("malformed RPCI reply");
};

/** guestinfo as the guest sees it. */
export class GuestInfo {
  readonly #transport: RpciTransport;

  /** Throws when the hypervisor cannot be asked in any way. */
  constructor() {
    // The vsock driver may be still loading: each step of that is a device event.
    const find = (): RpciTransport | undefined => openVsockTransport() ?? openSerialTransport("/dev/ttyS3");
    const transport = waitForDevice(find, TRANSPORT_LIMIT);
    if (transport === undefined) throw new Error("no guest RPC transport: neither vsock nor /dev/ttyS3");
    this.#transport = transport;
  }

  get(key: string): string | undefined {
    const command = Buffer.from(`info-get ${key}`);
    for (let attempt = 1; ; attempt++) {
      try {
        const reply = parseReply(this.#transport.exchange(command, BOOT_LIMIT));
        return reply.ok ? reply.value : undefined;
      } catch (error) {
        if (attempt === BOOT_ATTEMPTS) throw error;
      }
    }
  }

  /** Never rejects: resolves to why the value was not stored, or undefined. */
  async set(key: string, value: string): Promise<string | undefined> {
    const command = Buffer.from(`info-set ${key} ${value}`);
    for (let attempt = 1; ; attempt++) {
      try {
        const reply = parseReply(this.#transport.exchange(command, RUNNING_LIMIT));
        return reply.ok ? undefined : reply.reason;
      } catch (error) {
        if (attempt === RUNNING_ATTEMPTS) return String(error);
        await Bun.sleep(RETRY_PAUSE);
      }
    }
  }
}
