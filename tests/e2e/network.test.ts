import { afterAll, beforeAll, expect, test } from "bun:test";
import { BUSYBOX, docker, dockerOk, inspect, removeContainers, run, uniqueName } from "./docker.ts";

const server = uniqueName("server");
const OUTSIDE = "vch-e2e-out";
const OUTSIDE_ADDRESS = "10.99.7.2";

/** A network namespace plays the world outside, behind a veth pair, with an HTTP server that shows who called. */
async function makeOutside(): Promise<void> {
  await removeOutside();
  const script = `set -e
    ip netns add ${OUTSIDE}
    ip link add vche2e0 type veth peer name eth0 netns ${OUTSIDE}
    ip addr add 10.99.7.1/24 dev vche2e0; ip link set vche2e0 up
    ip -n ${OUTSIDE} addr add ${OUTSIDE_ADDRESS}/24 dev eth0; ip -n ${OUTSIDE} link set eth0 up; ip -n ${OUTSIDE} link set lo up`;
  expect(await run(["sh", "-c", script])).toMatchObject({ code: 0 });
}

/** What may be there of it, also of a run that was cut off. */
async function removeOutside(): Promise<void> {
  await run(["ip", "netns", "del", OUTSIDE]);
  await run(["ip", "link", "del", "vche2e0"]);
}

beforeAll(async () => {
  await dockerOk("pull", "-q", BUSYBOX);
  await makeOutside();
  const script = "mkdir /www; echo hello >/www/index.html; httpd -p 80 -h /www; exec sleep 100000";
  await dockerOk(
    "run",
    "-d",
    "--name",
    server,
    "-p",
    "18080:80",
    "-p",
    "127.0.0.1:18081:80",
    "-p",
    "18082-18083:80-81",
    BUSYBOX,
    "sh",
    "-c",
    script,
  );
});

afterAll(async () => {
  await removeContainers(server);
  await removeOutside();
});

test("every container has an address, a default route and a resolver", async () => {
  const output = await dockerOk(
    "run",
    "--rm",
    BUSYBOX,
    "sh",
    "-c",
    "ip -4 -o addr show dev eth0 | awk '{print $4}'; ip route | grep -c default; grep -c nameserver /etc/resolv.conf",
  );
  const [address, routes, nameservers] = output.split("\n");
  expect(address).toMatch(/^\d+\.\d+\.\d+\.\d+\/\d+$/);
  expect(Number(routes)).toBe(1);
  expect(Number(nameservers)).toBeGreaterThan(0);
});

test("containers reach each other by address", async () => {
  const address = await inspect<string>(server, ".NetworkSettings.Networks.bridge.IPAddress");
  expect(await dockerOk("run", "--rm", BUSYBOX, "wget", "-qO-", `http://${address}/`)).toBe("hello");
});

test("NAT to the outside: the world sees this machine's address", async () => {
  const listener = Bun.spawn(
    ["ip", "netns", "exec", OUTSIDE, "busybox", "nc", "-l", "-p", "7000", "-e", "/bin/sh", "-c", "echo from outside"],
    { stdout: "ignore", stderr: "pipe" },
  );
  try {
    expect(await dockerOk("run", "--rm", BUSYBOX, "sh", "-c", `nc -w 5 ${OUTSIDE_ADDRESS} 7000 </dev/null`)).toBe(
      "from outside",
    );
  } finally {
    listener.kill();
  }
});

test("published ports: all addresses, one address, a range", async () => {
  for (const url of [
    "http://127.0.0.1:18080/",
    "http://127.0.0.1:18081/",
    "http://127.0.0.1:18082/",
    "http://10.99.7.1:18080/",
  ])
    expect((await run(["curl", "-sS", "--max-time", "10", url])).stdout).toBe("hello\n");
  expect(
    (await run(["ip", "netns", "exec", OUTSIDE, "curl", "-sS", "--max-time", "10", "http://10.99.7.1:18080/"])).stdout,
  ).toBe("hello\n");
  expect(
    (await run(["ip", "netns", "exec", OUTSIDE, "curl", "-sS", "--max-time", "3", "http://10.99.7.1:18081/"])).code,
  ).not.toBe(0);
  expect(await dockerOk("port", server, "80/tcp")).toContain("0.0.0.0:18080");
});

test("a port in use is refused with Docker's message, and is free again after rm", async () => {
  const refused = await docker(["run", "--rm", "-p", "18080:80", BUSYBOX, "true"]);
  expect(refused.code).toBe(125);
  expect(refused.stderr).toContain("port is already allocated");
  const name = uniqueName("port");
  await dockerOk("run", "-d", "--name", name, "-p", "18090:80", BUSYBOX, "sleep", "1000");
  await removeContainers(name);
  await dockerOk("run", "--rm", "-p", "18090:80", BUSYBOX, "true");
});

test("-P publishes what the image or --expose names", async () => {
  const name = uniqueName("publish-all");
  await dockerOk("run", "-d", "--name", name, "-P", "--expose", "8000", BUSYBOX, "sleep", "1000");
  expect(await dockerOk("port", name)).toMatch(/^8000\/tcp -> 0\.0\.0\.0:\d+/);
  await removeContainers(name);
});

test("--network none has only the loopback", async () => {
  expect(
    await dockerOk("run", "--rm", "--network", "none", BUSYBOX, "sh", "-c", "ls /sys/class/net; ip route | wc -l"),
  ).toBe("lo\n0");
});

test("--add-host, --dns, --dns-search, --hostname show in the files", async () => {
  const output = await dockerOk(
    "run",
    "--rm",
    "--add-host",
    "db:10.1.2.3",
    "--dns",
    "9.9.9.9",
    "--dns-search",
    "example.org",
    BUSYBOX,
    "cat",
    "/etc/hosts",
    "/etc/resolv.conf",
  );
  expect(output).toContain("10.1.2.3\tdb");
  expect(output).toContain("nameserver 9.9.9.9");
  expect(output).toContain("search example.org");
});

test("network ls and inspect", async () => {
  expect((await dockerOk("network", "ls", "--format", "{{.Name}}")).split("\n")).toEqual(
    expect.arrayContaining(["bridge", "none"]),
  );
  const containers = JSON.parse(await dockerOk("network", "inspect", "-f", "{{json .Containers}}", "bridge")) as Record<
    string,
    { Name: string }
  >;
  expect(Object.values(containers).map(({ Name }) => Name)).toContain(server);
});

/** Prints what arrives at port 5514, by datagram or by stream. */
const SYSLOG_SERVER = `
import socket, threading
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("", 5514))
tcp = socket.create_server(("", 5514))
print("ready")
def stream():
    for line in tcp.accept()[0].makefile():
        print(line, end="")
threading.Thread(target=stream, daemon=True).start()
while True:
    print(udp.recv(65536).decode(), end="")
`;

test("log driver syslog: the guest sends what docker logs shows as well", async () => {
  const server = Bun.spawn(["ip", "netns", "exec", OUTSIDE, "python3", "-u", "-c", SYSLOG_SERVER], { stdout: "pipe" });
  const reader = server.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let received = "";
  const until = async (...texts: string[]): Promise<void> => {
    while (!texts.every((text) => received.includes(text))) {
      const { done, value } = await reader.read();
      if (done) throw new Error(`the server ended: ${received}`);
      received += value;
    }
  };
  const syslog = (address: string): string[] => [
    ...["--log-driver", "syslog", "--log-opt", `syslog-address=${address}`],
    ...["--log-opt", "tag={{.Name}}", "--log-opt", "syslog-facility=local0", "--log-opt", "syslog-format=rfc3164"],
  ];
  const names = [uniqueName("udp"), uniqueName("tcp"), uniqueName("nobody")] as const;
  const [udp, tcp, nobody] = names;
  try {
    await until("ready");
    const run = ["sh", "-c", "echo said; echo wrong >&2"];
    await dockerOk("run", "--name", udp, ...syslog(`udp://${OUTSIDE_ADDRESS}:5514`), BUSYBOX, ...run);
    await dockerOk("run", "--name", tcp, ...syslog(`tcp://${OUTSIDE_ADDRESS}:5514`), BUSYBOX, ...run);
    // local0 is 16; informational is 6 and error is 3.
    for (const name of [udp, tcp]) await until(`e2e ${name}[1]: said`, `e2e ${name}[1]: wrong`);
    expect(received).toMatch(new RegExp(`<134>.* ${udp}\\[1\\]: said`));
    expect(received).toMatch(new RegExp(`<131>.* ${tcp}\\[1\\]: wrong`));
    expect(await docker(["logs", udp])).toEqual({ code: 0, stdout: "said\n", stderr: "wrong\n" });
    const refused = await docker([
      "run",
      "--name",
      nobody,
      ...syslog(`tcp://${OUTSIDE_ADDRESS}:5515`),
      BUSYBOX,
      "true",
    ]);
    expect(refused.code).toBe(125);
    expect(refused.stderr).toContain(
      `failed to initialize logging driver: dial tcp ${OUTSIDE_ADDRESS}:5515: connect: connection refused`,
    );
  } finally {
    server.kill();
    await removeContainers(...names);
  }
});
