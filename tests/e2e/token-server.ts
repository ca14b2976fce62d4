/** A token server as the distribution project specifies it: who knows the password gets a signed token for what was asked for. */
import "reflect-metadata";
import { X509CertificateGenerator } from "@peculiar/x509";
import { SignJWT } from "jose";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const LIFE_SECONDS = 300;

export interface TokenServer {
  url: string;
  /** What its signatures are checked with: `rootcertbundle` of the registry. */
  certificatePem: string;
  stop(): Promise<void>;
}

/** Issuer and service are `tests`. Without a password there are tokens, too: they allow nothing. */
export async function startTokenServer(user: string, password: string): Promise<TokenServer> {
  const keys = await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: "CN=tokens",
    keys,
    signingAlgorithm: ALGORITHM,
    notAfter: new Date(Date.now() + 24 * 3_600_000),
  });
  const chain = [Buffer.from(certificate.rawData).toString("base64")];
  const expected = `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;

  const token = (scopes: string[]): Promise<string> => {
    const access = scopes.map((scope) => {
      const [type, name, actions] = scope.split(":");
      return { type, name, actions: actions?.split(",") };
    });
    return new SignJWT({ access, jti: crypto.randomUUID() })
      .setProtectedHeader({ alg: "ES256", typ: "JWT", x5c: chain })
      .setIssuer("tests")
      .setAudience("tests")
      .setSubject(user)
      .setIssuedAt()
      .setNotBefore(Math.floor(Date.now() / 1000) - 60)
      .setExpirationTime(`${LIFE_SECONDS}s`)
      .sign(keys.privateKey);
  };

  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: async (request) => {
      const authorization = request.headers.get("authorization");
      if (authorization !== null && authorization !== expected)
        return Response.json({ errors: [{ code: "UNAUTHORIZED", message: "wrong password" }] }, { status: 401 });
      const scopes = authorization === null ? [] : new URL(request.url).searchParams.getAll("scope");
      const signed = await token(scopes.flatMap((scope) => scope.split(" ")));
      return Response.json({ token: signed, expires_in: LIFE_SECONDS });
    },
  });
  return {
    url: new URL("/token", server.url).href,
    certificatePem: certificate.toString("pem"),
    stop: () => server.stop(true),
  };
}
