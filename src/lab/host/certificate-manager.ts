import { X509Certificate } from "node:crypto";
import type { Host } from "../inventory/host.ts";
import { data, type Reference } from "../model/data.ts";
import { HostPart } from "./host-part.ts";

/** The certificate that the lab serves with. It makes and renews it itself. */
export class CertificateManager extends HostPart {
  constructor(host: Host, reference: Reference) {
    super(host, reference);
    this.properties({
      certificateInfo: () => {
        const certificate = new X509Certificate(host.context.certificate.certificatePem);
        const line = (name: string): string => name.split("\n").join(",");
        return data("HostCertificateManagerCertificateInfo", {
          issuer: line(certificate.issuer),
          notBefore: new Date(certificate.validFrom),
          notAfter: new Date(certificate.validTo),
          subject: line(certificate.subject),
          status: "good",
        });
      },
    });
  }
}
