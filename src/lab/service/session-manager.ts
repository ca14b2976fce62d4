import { LabFault, notSupported } from "../fault.ts";
import type { LabContext } from "../inventory/context.ts";
import { type DataObject, data, type Reference } from "../model/data.ts";
import { type Call, ManagedObject, sessionOf } from "../model/managed-object.ts";
import type { ServiceTickets } from "../session/service-tickets.ts";
import type { Session, Sessions } from "../session/sessions.ts";
import type { Users } from "../session/users.ts";

const LOCALE = "en_US";

/** Login, logout and tickets. */
export class SessionManager extends ManagedObject {
  constructor(
    context: LabContext,
    reference: Reference,
    private readonly sessions: Sessions,
    private readonly users: Users,
    tickets: ServiceTickets,
  ) {
    super(context.registry, reference);
    this.properties({
      sessionList: () => sessions.list().map(userSession),
      currentSession: (session) => session && userSession(session),
      message: () => "",
      messageLocaleList: () => ["en"],
      supportedLocaleList: () => ["en"],
      defaultLocale: () => LOCALE,
    });
    this.methods({
      Login: (p, call) => this.#login(p.userName as string, p.password as string, p.locale as string | undefined, call),
      Logout: (_, call) => sessions.terminate(sessionOf(call)),
      SessionIsActive: (p) => {
        if (context.naming.personality === "HostAgent") {
          throw new LabFault("NotImplemented", "SessionIsActive is not implemented on a host; read currentSession.");
        }
        const found = sessions.byKey(p.sessionID as string);
        return found !== undefined && found.user.name === p.userName;
      },
      TerminateSession: (p, call) => {
        const keys = p.sessionId as string[];
        const doomed = keys.map((key) => {
          const session = sessions.byKey(key);
          if (!session || session === call.session)
            throw new LabFault("NotFound", `There is no other session '${key}'.`);
          return session;
        });
        for (const session of doomed) sessions.terminate(session);
      },
      AcquireCloneTicket: (_, call) => sessions.acquireCloneTicket(sessionOf(call)),
      CloneSession: (p, call) => {
        const original = sessions.redeemCloneTicket(p.cloneTicket as string);
        if (!original) throw invalidLogin();
        return this.#start(sessions.start(original.user, call.client, original.locale), call);
      },
      AcquireGenericServiceTicket: (p, call) => {
        const session = sessionOf(call);
        const spec = p.spec as DataObject;
        if (spec._type !== "SessionManagerHttpServiceRequestSpec")
          throw notSupported("only tickets for HTTP requests.");
        const id = tickets.acquire(session.user, spec.method as string | undefined, spec.url as string);
        return data("SessionManagerGenericServiceTicket", {
          id,
          sslThumbprint: context.certificate.thumbprint,
          certThumbprintList: [
            data("VirtualMachineCertThumbprint", {
              thumbprint: context.certificate.fingerprint,
              hashAlgorithm: "sha256",
            }),
          ],
        });
      },
    });
  }

  #login(userName: string, password: string, locale: string | undefined, call: Call): DataObject {
    // As on vSphere: a connection that has a session must log out first.
    if (call.session) throw invalidLogin();
    const user = this.users.verify(userName, password);
    if (!user) throw invalidLogin();
    if (locale && !/^en/.test(locale)) throw new LabFault("InvalidLocale", `The locale '${locale}' is not available.`);
    return this.#start(this.sessions.start(user, call.client, locale || LOCALE), call);
  }

  #start(session: Session, call: Call): DataObject {
    call.newCookie = session.cookie;
    return userSession(session);
  }
}

const invalidLogin = (): LabFault =>
  new LabFault("InvalidLogin", "Cannot complete login due to an incorrect user name or password.");

const userSession = (session: Session): DataObject =>
  data("UserSession", {
    key: session.key,
    userName: session.user.name,
    fullName: session.user.name,
    loginTime: session.loginTime,
    lastActiveTime: session.lastActiveTime,
    locale: session.locale,
    messageLocale: "en",
    extensionSession: false,
    ipAddress: session.client.address,
    userAgent: session.client.userAgent,
    callCount: session.callCount,
  });
