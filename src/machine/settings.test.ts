import { expect, test } from "bun:test";
import { makeSettings, type SettingsChoices } from "./settings.ts";

const choices: SettingsChoices = {
  name: "test",
  listen: { host: "127.0.0.1", port: 2376 },
  labListen: { host: "127.0.0.1", port: 8989 },
  subnet: "10.9.0.0/16",
  memoryMB: 256,
  cpus: 1,
  insecureRegistries: [],
};

test("the bridge network has the addresses that were asked for, and IPv6 only then", async () => {
  const { bridge } = await makeSettings(choices);
  expect(bridge).toMatchObject({ subnet: "10.9.0.0/16", gateway: "10.9.0.1" });
  expect(bridge.ipv6).toBeUndefined();
  const dual = await makeSettings({ ...choices, subnet6: "fd00:30::5/64" });
  expect(dual.bridge.ipv6).toEqual({ subnet: "fd00:30::/64", gateway: "fd00:30::1" });
  for (const subnet6 of ["10.0.0.0/8", "fd00::/128", "::/0", "nonsense"])
    await expect(makeSettings({ ...choices, subnet6 })).rejects.toThrow("write an IPv6 network");
});
