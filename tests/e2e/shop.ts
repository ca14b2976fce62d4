/** A project that uses networks as people do, for every generation of compose. */
import { expect } from "bun:test";
import { BUSYBOX, type Result, run } from "./docker.ts";

/** The page names the replica and shows what the database says. */
const PAGE = "#!/bin/sh\\necho; hostname; timeout 10 nc database 5432 </dev/null";
/** A compose file of both generations: two networks, an alias, two replicas behind a reverse proxy, and a database. */
export const shopFile = (port: number): string => `
version: "2.4"
services:
  proxy:
    image: ${BUSYBOX}
    networks: [front]
    ports: ["${port}:80"]
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

/** The replica that answered, and what the database told it. */
async function page(port: number): Promise<string[]> {
  const { stdout } = await run(["curl", "-sS", "--max-time", "20", `http://127.0.0.1:${port}/cgi-bin/page`]);
  return stdout.trim().split("\n");
}

/** `up -d` ends when the containers run; their programs listen a little later. */
async function untilServed(port: number): Promise<void> {
  for (let attempt = 0; attempt < 60; attempt++) {
    const [, database] = await page(port);
    if (database !== undefined) return;
    await Bun.sleep(500);
  }
}

/** Brings the project up and asks everybody by their names; the caller takes it down. */
export async function checkShop(compose: (...words: string[]) => Promise<Result>, port: number): Promise<void> {
  expect(await compose("up", "-d")).toMatchObject({ code: 0 });
  await untilServed(port);
  // Chosen at random: the chance to miss one is 1 in 8192.
  const replicas = new Set<string>();
  for (let request = 0; request < 14; request++) {
    const [replica = "", database] = await page(port);
    expect(database).toBe("the-database");
    replicas.add(replica);
  }
  expect(replicas.size).toBe(2);
  // Names mean what their networks say.
  expect((await compose("exec", "-T", "proxy", "nslookup", "db")).code).not.toBe(0);
  const addresses = await compose("exec", "-T", "proxy", "nslookup", "web");
  const found = new Set(addresses.stdout.match(/\b\d+\.\d+\.\d+\.\d+\b/g));
  found.delete("127.0.0.11");
  expect(found.size).toBe(2);
  expect((await compose("exec", "-T", "--index=1", "web", "nslookup", "database")).stdout).toContain("10.96.0.");
}
