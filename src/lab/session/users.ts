import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import type { Reference } from "../model/data.ts";

/** Built-in roles with the ids that vSphere gives them. */
export const ROLES = {
  administrator: -1,
  readOnly: -2,
  view: -3,
  anonymous: -4,
  noAccess: -5,
} as const;

export const SYSTEM_PRIVILEGES: ReadonlyMap<number, readonly string[]> = new Map([
  [ROLES.readOnly, ["System.Anonymous", "System.View", "System.Read"]],
  [ROLES.view, ["System.Anonymous", "System.View"]],
  [ROLES.anonymous, ["System.Anonymous"]],
  [ROLES.noAccess, []],
]);

export interface User {
  name: string;
  /** Role on the whole inventory, unless a permission says otherwise. */
  roleId: number;
  /** Does a permission give the privilege on the object? Without it, `roleId` decides everywhere. */
  holds?: (privilege: string, object: Reference) => boolean;
}

/** Has the user this privilege on this object? */
export const userHolds = (user: User, privilege: string, object: Reference): boolean =>
  user.holds?.(privilege, object) ?? roleHolds(user.roleId, privilege);

/** The accounts of the endpoint. Passwords are compared in constant time and not kept in clear. */
export class Users {
  readonly #secret = randomBytes(32);
  readonly #accounts = new Map<string, { user: User; digest: Buffer }>();

  #authorize: ((user: User) => User) | undefined;

  add(name: string, password: string, roleId: number): void {
    const user = this.#authorize?.({ name, roleId }) ?? { name, roleId };
    this.#accounts.set(name.toLowerCase(), { user, digest: this.#digest(password) });
  }

  /** Lets permissions decide from now on what users may do. */
  authorizeBy(authorize: (user: User) => User): void {
    this.#authorize = authorize;
    for (const account of this.#accounts.values()) account.user = authorize(account.user);
  }

  /** The name as it was given to the account; undefined when there is no such account. */
  find(name: string): User | undefined {
    return this.#accounts.get(name.toLowerCase())?.user;
  }

  names(): string[] {
    return [...this.#accounts.values()].map(({ user }) => user.name);
  }

  /** The user, or undefined when name or password is wrong. */
  verify(name: string, password: string): User | undefined {
    const account = this.#accounts.get(name.toLowerCase());
    const given = this.#digest(password);
    const matches = timingSafeEqual(given, account?.digest ?? this.#secret);
    return account && matches ? account.user : undefined;
  }

  #digest(password: string): Buffer {
    return createHmac("sha256", this.#secret).update(password).digest();
  }
}

/** Does the role hold the privilege? Only the administrator has more than the system privileges. */
export function roleHolds(roleId: number, privilege: string): boolean {
  if (roleId === ROLES.administrator) return true;
  return SYSTEM_PRIVILEGES.get(roleId)?.includes(privilege) ?? false;
}
