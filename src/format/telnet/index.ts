export * from "./options.ts";
export * from "./telnet.ts";
export * from "./vmware-extension.ts";
