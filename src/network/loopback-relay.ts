/**
 * Carries what comes to a published port over IPv6's loopback address into the container, as Docker's proxy does: Linux has
 * no `route_localnet` for IPv6, so ::1 cannot be translated. Works while the endpoint runs.
 */
import dgram from "node:dgram";
import net from "node:net";

/** The container's side. */
export interface RelayTarget {
  address: string;
  port: number;
}

/** Connections or senders of one published port at once; only programs of this machine can open any. */
const RELAY_LIMIT = 512;
const CONNECT_LIMIT_MILLISECONDS = 10_000;
/** A sender of datagrams that was silent for this long is forgotten, as by the kernel's own translation. */
const SENDER_IDLE_MILLISECONDS = 30_000;

/** Takes the connections of one published port over. Either side may end its half first; an error of one ends both. */
export function connectionRelay(target: RelayTarget): (client: net.Socket) => void {
  let open = 0;
  return (client) => {
    if (open >= RELAY_LIMIT) {
      client.destroy();
      return;
    }
    open++;
    const container = net.connect({ host: target.address, port: target.port, allowHalfOpen: true });
    const giveUp = setTimeout(() => container.destroy(), CONNECT_LIMIT_MILLISECONDS);
    container.once("connect", () => clearTimeout(giveUp));
    container.on("error", () => client.destroy());
    client.on("error", () => container.destroy());
    container.once("close", () => {
      clearTimeout(giveUp);
      client.destroySoon();
    });
    client.once("close", () => {
      open--;
      container.destroySoon();
    });
    client.pipe(container).pipe(client);
  };
}

/** Relays the datagrams of `socket` until the returned function is called. Answers go back to who asked. */
export function relayDatagrams(socket: dgram.Socket, target: RelayTarget): () => void {
  const senders = new Map<string, { socket: dgram.Socket; timer: ReturnType<typeof setTimeout> }>();
  const forget = (key: string): void => {
    const sender = senders.get(key);
    senders.delete(key);
    clearTimeout(sender?.timer);
    sender?.socket.close();
  };
  const open = (key: string, port: number, address: string): dgram.Socket => {
    const outward = dgram.createSocket(net.isIPv6(target.address) ? "udp6" : "udp4");
    outward.on("error", () => forget(key));
    outward.on("message", (message) => {
      senders.get(key)?.timer.refresh();
      socket.send(message, port, address);
    });
    outward.unref();
    senders.set(key, { socket: outward, timer: setTimeout(() => forget(key), SENDER_IDLE_MILLISECONDS).unref() });
    return outward;
  };
  socket.on("error", () => undefined); // A datagram that could not be sent is lost, as any may be.
  socket.on("message", (message, { port, address }) => {
    const key = `${address} ${port}`;
    const known = senders.get(key);
    if (known) {
      known.timer.refresh();
      known.socket.send(message);
    } else if (senders.size < RELAY_LIMIT) {
      const outward = open(key, port, address);
      // Connected, it hears the container alone.
      outward.connect(target.port, target.address, (...[error]: [Error?]) => {
        if (error) forget(key);
        else outward.send(message);
      });
    }
  });
  return () => {
    for (const key of [...senders.keys()]) forget(key);
  };
}
