/** Ethernet frames of DHCP over a packet socket (packet(7)): works before the interface has an address. */
import { closeSync, readFileSync } from "node:fs";
import { type DhcpFrame, decodeDhcpFrame } from "../../../src/format/dhcp-frame.ts";
import { attachFilter, bind, OPEN, SystemError, socket, writeFd } from "../../system/libc.ts";

const AF_PACKET = 17;
const SOCK_RAW = 3;
const ETHERTYPE_IPV4 = 0x0800;
const PROTOCOL_UDP = 17;
const CLIENT_PORT = 68;
const FRAGMENT_OFFSET = 0x1fff;
const WHOLE_FRAME = 0xffff;
/** Least length of what follows the Ethernet header; shorter ones are filled up. */
const SMALLEST_CONTENT = 60;

/** Classic BPF: answers of DHCP to one transaction, and nothing of the container's own traffic. */
function answersTo(transaction: number): Uint8Array {
  const load16 = 0x28;
  const load8 = 0x30;
  const loadIndexHeader = 0xb1;
  const load16Indexed = 0x48;
  const load32Indexed = 0x40;
  const jumpEqual = 0x15;
  const jumpSet = 0x45;
  const give = 0x06;
  const program: [code: number, ifTrue: number, ifFalse: number, operand: number][] = [
    [load16, 0, 0, 12],
    [jumpEqual, 0, 9, ETHERTYPE_IPV4],
    [load8, 0, 0, 23],
    [jumpEqual, 0, 7, PROTOCOL_UDP],
    [load16, 0, 0, 20],
    [jumpSet, 5, 0, FRAGMENT_OFFSET],
    [loadIndexHeader, 0, 0, 14],
    [load16Indexed, 0, 0, 16],
    [jumpEqual, 0, 2, CLIENT_PORT],
    [load32Indexed, 0, 0, 26],
    [jumpEqual, 1, 0, transaction],
    [give, 0, 0, 0],
    [give, 0, 0, WHOLE_FRAME],
  ];
  const bytes = new Uint8Array(program.length * 8);
  const view = new DataView(bytes.buffer);
  for (const [index, [code, ifTrue, ifFalse, operand]] of program.entries()) {
    view.setUint16(index * 8, code, true);
    view.setUint8(index * 8 + 2, ifTrue);
    view.setUint8(index * 8 + 3, ifFalse);
    view.setUint32(index * 8 + 4, operand, true);
  }
  return bytes;
}

/** One exchange with a server. */
export interface DhcpLink {
  /** False when the interface cannot send now. */
  send(frame: Uint8Array): boolean;
  /** The next frame for a client, or undefined after so many milliseconds. */
  receive(milliseconds: number): Promise<DhcpFrame | undefined>;
  close(): void;
}

const readerOf = (fd: number) => Bun.file(fd).stream().getReader();

export class PacketLink implements DhcpLink {
  readonly #fd: number;
  readonly #reader: ReturnType<typeof readerOf>;
  #pending: Promise<Uint8Array | undefined> | undefined;
  readonly #frames: DhcpFrame[] = [];

  constructor(interfaceName: string, transaction: number) {
    const index = Number(readFileSync(`/sys/class/net/${interfaceName}/ifindex`, "utf8"));
    // Nothing arrives before it is bound, so that everything goes through the filter.
    this.#fd = socket(AF_PACKET, SOCK_RAW | OPEN.nonBlocking, 0);
    attachFilter(this.#fd, answersTo(transaction));
    const address = new Uint8Array(20);
    const view = new DataView(address.buffer);
    view.setUint16(0, AF_PACKET, true);
    view.setUint16(2, ETHERTYPE_IPV4);
    view.setInt32(4, index, true);
    bind(this.#fd, address);
    this.#reader = readerOf(this.#fd);
    this.#reader.closed.catch(() => undefined);
  }

  send(frame: Uint8Array): boolean {
    try {
      return writeFd(this.#fd, frame) === frame.length;
    } catch (error) {
      // The link is down, or its queue is full: the next try may work.
      if (error instanceof SystemError) return false;
      throw error;
    }
  }

  async receive(milliseconds: number): Promise<DhcpFrame | undefined> {
    const deadline = performance.now() + milliseconds;
    for (;;) {
      const frame = this.#frames.shift();
      if (frame) return frame;
      const bytes = await this.#read(deadline - performance.now());
      if (bytes === undefined) return undefined;
      this.#take(bytes);
    }
  }

  async #read(milliseconds: number): Promise<Uint8Array | undefined> {
    if (milliseconds <= 0) return undefined;
    this.#pending ??= this.#reader.read().then(
      ({ value }) => value,
      // The interface has gone down: nothing more comes, and the time is waited for all the same.
      () => new Promise<undefined>(() => undefined),
    );
    let timer: ReturnType<typeof setTimeout> | undefined;
    const limit = new Promise<"over">((resolve) => {
      timer = setTimeout(resolve, milliseconds, "over");
    });
    const result = await Promise.race([this.#pending, limit]);
    clearTimeout(timer);
    if (result === "over") return undefined;
    this.#pending = undefined;
    return result;
  }

  /** Several frames may come as one piece. */
  #take(bytes: Uint8Array): void {
    for (let offset = 0; offset < bytes.length; ) {
      const frame = decodeDhcpFrame(bytes.subarray(offset));
      if (frame === undefined) return;
      this.#frames.push(frame);
      offset += Math.max(frame.length, SMALLEST_CONTENT);
    }
  }

  close(): void {
    const closed = (): void => closeSync(this.#fd);
    this.#reader.cancel().then(closed, closed);
  }
}
