/** The engine: containers, volumes, networks and images over a vSphere, which is its database. */
import { openBridgeNetwork, removeBridgeNetwork } from "../network/bridge-network.ts";
import { assembleEngine } from "./assemble.ts";
import type { Engine } from "./contract.ts";
import { openGuestLinks } from "./guests/guest-links.ts";
import { createImages } from "./images/images.ts";
import type { EngineOptions } from "./options.ts";

export type { SerialLinkOptions } from "./guests/guest-links.ts";
export type { EngineOptions } from "./options.ts";

/**
 * Rebuilds everything from vSphere and serves. What an earlier engine left half done is finished in the background.
 * Rejects when vSphere, the bridge network or the link's port cannot be had.
 */
export const createEngine = (options: EngineOptions): Promise<Engine> =>
  assembleEngine(options, { openBridgeNetwork, removeBridgeNetwork, openGuestLinks, createImages });
