/** One question to one name server, over UDP or TCP. */
import { randomInt } from "node:crypto";
import dgram from "node:dgram";
import net from "node:net";
import { answers, type Question, withId } from "../../format/dns-message.ts";

const DNS_PORT = 53;

/** Asks over UDP from a fresh random port. Rejects after `timeoutMilliseconds` or when the server cannot be reached. */
export function askUdp(
  server: string,
  query: Uint8Array,
  question: Question,
  timeoutMilliseconds: number,
  port = DNS_PORT,
): Promise<Uint8Array> {
  const id = randomInt(0x10000);
  return new Promise((resolve, reject) => {
    const socket = dgram.createSocket(net.isIPv6(server.split("%")[0] ?? "") ? "udp6" : "udp4");
    let finished = false;
    const finish = (settle: () => void): void => {
      if (finished) return;
      finished = true;
      clearTimeout(timer);
      socket.close();
      settle();
    };
    const timer = setTimeout(
      () => finish(() => reject(new Error(`name server ${server} did not answer`))),
      timeoutMilliseconds,
    );
    socket.on("error", (error) => finish(() => reject(error)));
    socket.on("message", (message) => {
      if (answers(message, id, question)) finish(() => resolve(withId(message, question.id)));
    });
    // A connected socket takes datagrams of this server only, and hears of "port unreachable".
    socket.connect(port, server, (...[error]: [Error?]) => {
      // Also called when there is no route to the server.
      if (error) finish(() => reject(error));
      else if (!finished) socket.send(withId(query, id));
    });
  });
}

/** Asks over TCP (RFC 7766 framing). */
export function askTcp(
  server: string,
  query: Uint8Array,
  question: Question,
  timeoutMilliseconds: number,
  port = DNS_PORT,
): Promise<Uint8Array> {
  const id = randomInt(0x10000);
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host: server, port });
    const finish = (settle: () => void): void => {
      clearTimeout(timer);
      socket.destroy();
      settle();
    };
    const timer = setTimeout(
      () => finish(() => reject(new Error(`name server ${server} did not answer`))),
      timeoutMilliseconds,
    );
    let received = Buffer.alloc(0);
    socket.on("error", (error) => finish(() => reject(error)));
    socket.on("close", () => finish(() => reject(new Error(`name server ${server} closed the connection`))));
    socket.on("connect", () => socket.write(frame(withId(query, id))));
    socket.on("data", (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]); // at most 64 KiB: the length field has two bytes
      if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return;
      const message = new Uint8Array(received.subarray(2, 2 + received.readUInt16BE(0)));
      finish(() =>
        answers(message, id, question)
          ? resolve(withId(message, question.id))
          : reject(new Error(`name server ${server} sent something that is no answer`)),
      );
    });
  });
}

/** A message with its length in front, as TCP carries it. */
export function frame(message: Uint8Array): Uint8Array {
  const framed = new Uint8Array(message.length + 2);
  new DataView(framed.buffer).setUint16(0, message.length);
  framed.set(message, 2);
  return framed;
}
