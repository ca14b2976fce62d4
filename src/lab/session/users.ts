import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";

/** Built-in roles with the ids that vSphere gives them. */
export const ROLES = {
  administrator: -1,
  readOnly: -2,
  view: -3,
  anonymous: -4,
  noAccess: -5,
} as const;

const SYSTEM_PRIVILEGES: ReadonlyMap<number, readonly string[]> = new Map([
  [ROLES.readOnly, ["System.Anonymous", "System.View", "System.Read"]],
  [ROLES.view, ["System.Anonymous", "System.View"]],
  [ROLES.anonymous, ["System.Anonymous"]],
  [ROLES.noAccess, []],
]);

export interface User {
  name: string;
  roleId: number;
}

/** The accounts of the endpoint. Passwords are compared in constant time and not kept in clear. */
export class Users {
  readonly #secret = randomBytes(32);
  readonly #accounts = new Map<string, { user: User; digest: Buffer }>();

  add(name: string, password: string, roleId: number): void {
    this.#accounts.set(name.toLowerCase(), { user: { name, roleId }, digest: this.#digest(password) });
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
