import { afterEach, expect, test } from "bun:test";
import { gzipSync } from "node:zlib";
import { createRegistryClient } from "./client.ts";
import { digestOf } from "./digest.ts";
import { parseReference } from "./reference.ts";
import { DEFAULT_SETTINGS, type RegistrySettings } from "./settings.ts";

const NEVER = new AbortController().signal;
const LAYER = new Uint8Array(gzipSync(crypto.getRandomValues(new Uint8Array(300_000))));
const CONFIG = new TextEncoder().encode('{"architecture":"amd64"}');
const MANIFEST = JSON.stringify({
  schemaVersion: 2,
  config: { mediaType: "application/vnd.oci.image.config.v1+json", digest: digestOf(CONFIG), size: CONFIG.length },
  layers: [{ mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", digest: digestOf(LAYER), size: LAYER.length }],
});

const servers: { stop(force: boolean): unknown }[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop(true);
});

type Handler = (request: Request, url: URL) => Response | Promise<Response> | undefined;

/** A registry with one image, whose answers a test may change. */
function serve(handler: Handler = () => undefined): string {
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    async fetch(request) {
      const url = new URL(request.url);
      const special = await handler(request, url);
      if (special !== undefined) return special;
      if (url.pathname.includes("/manifests/")) {
        return new Response(MANIFEST, { headers: { "Content-Type": "application/vnd.oci.image.manifest.v1+json" } });
      }
      if (url.pathname.endsWith(digestOf(LAYER))) return new Response(LAYER);
      if (url.pathname.endsWith(digestOf(CONFIG))) return new Response(CONFIG);
      return new Response("", { status: 404 });
    },
  });
  servers.push(server);
  return `127.0.0.1:${server.port}`;
}

const open = (address: string, credentials?: object, settings: Partial<RegistrySettings> = {}) =>
  createRegistryClient({ settings: () => ({ ...DEFAULT_SETTINGS, ...settings }), userAgent: "test" }).image(
    parseReference(`${address}/app:1`),
    { os: "linux", architecture: "amd64" },
    credentials,
    NEVER,
  );

async function layer(image: Awaited<ReturnType<typeof open>>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  const [descriptor] = image.manifest.layers;
  if (descriptor === undefined) throw new Error("no layer");
  for await (const chunk of image.blob(descriptor, NEVER)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

const isLayer = (url: URL): boolean => url.pathname.endsWith(digestOf(LAYER));

test("layer bytes are raw, also when a proxy calls them gzip-encoded", async () => {
  const address = serve((_, url) =>
    isLayer(url) ? new Response(LAYER, { headers: { "Content-Encoding": "gzip" } }) : undefined,
  );
  expect(digestOf(await layer(await open(address)))).toBe(digestOf(LAYER));
});

test("a corrupt, a short and a long blob are refused", async () => {
  const corrupt = LAYER.slice();
  corrupt[1000] = (corrupt[1000] ?? 0) ^ 1;
  const bad = serve((_, url) => (isLayer(url) ? new Response(corrupt) : undefined));
  await expect(layer(await open(bad))).rejects.toThrow(
    `filesystem layer verification failed for digest ${digestOf(LAYER)}`,
  );
  const long = serve((_, url) => (isLayer(url) ? new Response(Buffer.concat([LAYER, LAYER])) : undefined));
  await expect(layer(await open(long))).rejects.toThrow("more than");
  const config = serve((_, url) =>
    url.pathname.endsWith(digestOf(CONFIG)) ? new Response("x".repeat(CONFIG.length)) : undefined,
  );
  await expect((await open(config)).config(NEVER)).rejects.toThrow("verification failed");
});

test("a broken download goes on where it stopped", async () => {
  const ranges: (string | null)[] = [];
  const address = serve((request, url) => {
    if (!isLayer(url)) return undefined;
    const range = request.headers.get("range");
    ranges.push(range);
    const start = Number(/bytes=(\d+)-/.exec(range ?? "")?.[1] ?? 0);
    const part = LAYER.slice(start, start + 120_000);
    return new Response(part, {
      status: range === null ? 200 : 206,
      headers: range === null ? {} : { "Content-Range": `bytes ${start}-${start + part.length - 1}/${LAYER.length}` },
    });
  });
  expect(digestOf(await layer(await open(address)))).toBe(digestOf(LAYER));
  expect(ranges).toEqual([null, "bytes=120000-", "bytes=240000-"]);
});

test("a server without ranges is read from the start again", async () => {
  let requests = 0;
  const address = serve((_, url) =>
    isLayer(url) ? new Response(requests++ === 0 ? LAYER.slice(0, 100_000) : LAYER) : undefined,
  );
  expect(digestOf(await layer(await open(address)))).toBe(digestOf(LAYER));
});

test("tokens: asked for once, sent to the registry, not to where it redirects", async () => {
  const seen: string[] = [];
  const storage = serve((request) => {
    seen.push(`storage ${request.headers.get("authorization")}`);
    return new Response(LAYER);
  });
  let tokens = 0;
  const realm = serve((request, url) => {
    tokens += 1;
    expect(url.searchParams.get("scope")).toBe("repository:app:pull");
    expect(url.searchParams.get("service")).toBe("test");
    const basic = request.headers.get("authorization");
    if (basic !== `Basic ${btoa("alice:secret")}`) return new Response("{}", { status: 401 });
    return Response.json({ token: "t0ken", expires_in: 300 });
  });
  const address = serve((request, url) => {
    if (request.headers.get("authorization") !== "Bearer t0ken") {
      const challenge = `Bearer realm="http://${realm}/token",service="test",scope="repository:app:pull"`;
      return new Response("", { status: 401, headers: { "WWW-Authenticate": challenge } });
    }
    return isLayer(url) ? Response.redirect(`http://${storage.replace("127.0.0.1", "localhost")}/x`, 307) : undefined;
  });
  const image = await open(address, { username: "alice", password: "secret" });
  await image.config(NEVER);
  expect(digestOf(await layer(image))).toBe(digestOf(LAYER));
  expect(tokens).toBe(1);
  expect(seen).toEqual(["storage null"]);
  await expect(open(address, { username: "alice", password: "wrong" })).rejects.toMatchObject({ code: "unauthorized" });
});

test("an identity token is exchanged by POST", async () => {
  const realm = serve(async (request) => {
    const form = new URLSearchParams(await request.text());
    const good =
      request.method === "POST" && form.get("grant_type") === "refresh_token" && form.get("refresh_token") === "idt";
    return good ? Response.json({ access_token: "fresh" }) : new Response("{}", { status: 401 });
  });
  const address = serve((request) =>
    request.headers.get("authorization") === "Bearer fresh"
      ? undefined
      : new Response("", {
          status: 401,
          headers: { "WWW-Authenticate": `Bearer realm="http://${realm}/t",service="s"` },
        }),
  );
  expect((await open(address, { identitytoken: "idt" })).digest).toBe(digestOf(MANIFEST));
});

test("too large a manifest, endless redirects and a list of allowed registries", async () => {
  const large = serve((_, url) =>
    url.pathname.includes("manifests") ? new Response("x".repeat(5_000_000)) : undefined,
  );
  await expect(open(large)).rejects.toThrow("larger than");
  const loop = serve((_, url) => Response.redirect(url.href, 302));
  await expect(open(loop)).rejects.toThrow("redirects");
  await expect(open(serve(), undefined, { allowedRegistries: ["*.example.com"] })).rejects.toThrow(
    "allowed registries",
  );
});
