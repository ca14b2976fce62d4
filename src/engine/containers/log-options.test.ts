import { describe, expect, test } from "bun:test";
import type { ContainerDocument } from "./document.ts";
import { checkLog, isReadable, logAttributes, logConfiguration } from "./log-options.ts";

const document = (Type: string, Config: Record<string, string>): ContainerDocument =>
  ({
    id: "1234567890abcdef".repeat(4),
    name: "web",
    image: { id: `sha256:${"fedcba9876543210".repeat(4)}`, reference: "busybox:latest" },
    command: ["sh", "-c", "true"],
    config: { Labels: { role: "front", team: "a b" }, Env: ["MODE=x=y", "OTHER=1"] },
    hostConfig: { LogConfig: { Type, Config } },
  }) as never;

describe("syslog", () => {
  const configuration = (options: Record<string, string>) => {
    checkLog({ Type: "syslog", Config: options });
    return logConfiguration(document("syslog", options), "house").syslog;
  };

  test("address, facility, format, tag", () => {
    expect(configuration({ "syslog-address": "udp://logs.example" })).toEqual({
      transport: "udp",
      host: "logs.example",
      port: 514,
      facility: 3,
      format: "unix",
      hostname: "house",
      tag: "1234567890ab",
    });
    expect(
      configuration({
        "syslog-address": "tcp://[fd00::1]:6514",
        "syslog-facility": "local7",
        "syslog-format": "rfc5424micro",
        tag: "{{.Name}}/{{.ImageName}} {{ .ImageID }}",
      }),
    ).toMatchObject({
      transport: "tcp",
      host: "fd00::1",
      port: 6514,
      facility: 23,
      format: "rfc5424micro",
      tag: "web/busybox:latest_fedcba987654",
    });
    expect(configuration({ "syslog-address": "udp://10.0.0.1", "syslog-facility": "16" })?.facility).toBe(16);
  });

  test.each([
    [{}, "needs --log-opt syslog-address"],
    [{ "syslog-address": "unixgram:///dev/log" }, "neither sockets nor certificates"],
    [{ "syslog-address": "tcp+tls://a:1" }, "neither sockets nor certificates"],
    [{ "syslog-address": "udp://127.0.0.1:514" }, "is the container's own VM"],
    [{ "syslog-address": "http://a" }, "invalid syslog-address http://a"],
    [{ "syslog-address": "udp://a:99999" }, "invalid syslog-address"],
    [{ "syslog-address": "udp://a", "syslog-facility": "local8" }, "invalid syslog facility"],
    [{ "syslog-address": "udp://a", "syslog-facility": "-" }, "invalid syslog facility"],
    [{ "syslog-address": "udp://a", "syslog-format": "json" }, "Invalid syslog format"],
    [{ "syslog-address": "udp://a", tag: "{{.Nope}}" }, "between {{ and }} there can be .ID"],
    [{ "syslog-address": "udp://a", "syslog-tls-cert": "/x" }, "none of the endpoint's certificates"],
    [{ "syslog-address": "udp://a", "max-size": "1m" }, "unknown log opt 'max-size' for syslog log driver"],
  ])("%j is refused", (options, reason) => {
    expect(() => checkLog({ Type: "syslog", Config: options as unknown as Record<string, string> })).toThrow(reason);
  });

  test("what docker logs reads is kept too, unless it is not wanted", () => {
    const address = { "syslog-address": "udp://a" };
    const cached = { ...address, "cache-max-size": "1k", "cache-max-file": "2" };
    expect(logConfiguration(document("syslog", cached), "h")).toMatchObject({
      driver: "json-file",
      maximumSize: 1024,
      maximumFiles: 2,
    });
    expect(isReadable(document("syslog", address))).toBe(true);
    const disabled = document("syslog", { ...address, "cache-disabled": "true" });
    expect(isReadable(disabled)).toBe(false);
    expect(logConfiguration(disabled, "h").driver).toBe("none");
  });
});

test("labels, variables and the tag that go with every entry", () => {
  const options = { labels: "role,absent", "labels-regex": "^te", env: "MODE", tag: "{{.Name}}" };
  checkLog({ Type: "json-file", Config: options });
  expect(logAttributes(document("json-file", options))).toEqual({
    role: "front",
    team: "a b",
    MODE: "x=y",
    tag: "web",
  });
  expect(logAttributes(document("json-file", {}))).toEqual({});
  expect(() => checkLog({ Type: "json-file", Config: { "env-regex": "(" } })).toThrow("invalid env-regex");
  expect(() => checkLog({ Type: "local", Config: { labels: "a" } })).toThrow("unknown log opt 'labels' for local");
  expect(() => checkLog({ Type: "fluentd", Config: {} })).toThrow("log driver fluentd is not supported");
});
