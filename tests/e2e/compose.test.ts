/** docker-compose (Debian's, version 1) with two networks, aliases, two replicas behind a proxy and a database. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BUSYBOX, dockerOk, type Result, run } from "./docker.ts";

const PROJECT = `shop${process.pid}`;
const PORT = 18390;
let directory = "";

/** The page names the replica and shows what the database says. */
const PAGE = "#!/bin/sh\\necho; hostname; timeout 10 nc database 5432 </dev/null";
const FILE = `
version: "2.4"
services:
  proxy:
    image: ${BUSYBOX}
    networks: [front]
    ports: ["${PORT}:80"]
    depends_on: [web]
    # A connection to the replica whose turn it is: the resolver answers them in rotation.
    command:
      - sh
      - -c
      - |
        cat >/proxy <<'END'
        #!/bin/sh
        exec nc $$(nslookup web | awk '/^Address/ {last = $$NF} END {print last}') 80
        END
        chmod +x /proxy; exec nc -ll -p 80 -e /proxy
  web:
    image: ${BUSYBOX}
    networks: [front, back]
    scale: 2
    depends_on: [db]
    command: ["sh", "-c", "mkdir -p /www/cgi-bin; printf '${PAGE}' >/www/cgi-bin/page; chmod +x /www/cgi-bin/page; exec httpd -f -p 80 -h /www"]
  db:
    image: ${BUSYBOX}
    networks: { back: { aliases: [database] } }
    command: ["sh", "-c", "exec nc -ll -p 5432 -e echo the-database"]
networks:
  front: {}
  back: { internal: true, ipam: { config: [{ subnet: 10.96.0.0/24 }] } }
`;

const compose = (...words: string[]): Promise<Result> =>
  run(["docker-compose", "-p", PROJECT, "-f", join(directory, "docker-compose.yml"), ...words], {
    timeoutMilliseconds: 300_000,
  });

/** The replica that answered, and what the database told it. */
async function page(): Promise<string[]> {
  const { stdout } = await run(["curl", "-sS", "--max-time", "20", `http://127.0.0.1:${PORT}/cgi-bin/page`]);
  return stdout.trim().split("\n");
}

/** `up -d` ends when the containers run; their programs listen a little later. */
async function untilServed(): Promise<void> {
  for (let attempt = 0; attempt < 60; attempt++) {
    const [, database] = await page();
    if (database !== undefined) return;
    await Bun.sleep(500);
  }
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "vch-compose-"));
  await Bun.write(join(directory, "docker-compose.yml"), FILE);
  await dockerOk("pull", "-q", BUSYBOX);
});

afterAll(async () => {
  await compose("kill");
  await compose("down", "-v");
  await rm(directory, { recursive: true });
  expect(await dockerOk("network", "ls", "--filter", `name=${PROJECT}`, "-q")).toBe("");
});

test("the project comes up, and the proxy reaches both replicas, and they the database", async () => {
  expect(await compose("up", "-d")).toMatchObject({ code: 0 });
  await untilServed();
  // Chosen at random: the chance to miss one is 1 in 8192.
  const replicas = new Set<string>();
  for (let request = 0; request < 14; request++) {
    const [replica = "", database] = await page();
    expect(database).toBe("the-database");
    replicas.add(replica);
  }
  expect(replicas.size).toBe(2);
});

test("service names mean what their networks say", async () => {
  expect((await compose("exec", "-T", "proxy", "nslookup", "db")).code).not.toBe(0);
  const addresses = await compose("exec", "-T", "proxy", "nslookup", "web");
  const found = new Set(addresses.stdout.match(/\b\d+\.\d+\.\d+\.\d+\b/g));
  found.delete("127.0.0.11");
  expect(found.size).toBe(2);
  expect((await compose("exec", "-T", "--index=1", "web", "nslookup", "database")).stdout).toContain("10.96.0.");
});

/** Rounds of a project that ends with its first container. */
const ROUNDS = 3;
const LINES = 200;

test("up --abort-on-container-exit shows all that the ending container wrote, in every round", async () => {
  const project = join(directory, "cascade.yml");
  await Bun.write(
    project,
    `
version: "2.4"
services:
  job:
    image: ${BUSYBOX}
    network_mode: none
    command: ["sh", "-c", "seq 1 ${LINES}; echo the-last-line; exit 3"]
`,
  );
  const cascade = (...words: string[]): Promise<Result> =>
    run(["docker-compose", "--no-ansi", "-p", `${PROJECT}cascade`, "-f", project, ...words], {
      timeoutMilliseconds: 200_000,
    });
  try {
    for (let round = 0; round < ROUNDS; round++) {
      const up = await cascade("up", "--abort-on-container-exit", "--exit-code-from", "job", "--no-color");
      expect(up.stdout).toContain("the-last-line");
      expect(up.stdout.split("\n").filter((line) => /\| \d+$/.test(line.trimEnd()))).toHaveLength(LINES);
      expect(up.code).toBe(3);
    }
  } finally {
    await cascade("down", "-v");
  }
});
