import { RPCI_REPLY_TIMEOUT_MS } from "../../src/format/rpci.ts";
import { waitForDevice } from "../boot/uevents.ts";
import { openSerialTransport } from "./serial.ts";
import type { RpciTransport } from "./transport.ts";
import { openVsockTransport } from "./vsock.ts";

/** Milliseconds until one of the transports must be there. */
const TRANSPORT_LIMIT = 10_000;
/**
 * Milliseconds for one exchange, and how often it is tried at boot. Nothing can be done without the configuration, so this
 * side is the patient one (the host may be restarting, and a starved guest's clock may run several times too fast): how
 * long a start may take is the engine's decision, who powers the VM off.
 */
const BOOT_LIMIT = RPCI_REPLY_TIMEOUT_MS;
const BOOT_ATTEMPTS = 120;
/** Later the tether has other work: an exchange may hold it up this long (milliseconds). */
const RUNNING_LIMIT = 1500;
/** Pauses grow from 0.5 s to 32 s, about a minute in all: a host that restarts hears of the state in the end. */
const RUNNING_ATTEMPTS = 8;
const FIRST_PAUSE = 500;

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
        await Bun.sleep(FIRST_PAUSE * 2 ** (attempt - 1));
      }
    }
  }
}
