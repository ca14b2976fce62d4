import { expect, test } from "bun:test";
import type { VirtualMachineRecord } from "../vsphere/contract.ts";
import { spaceQuestion } from "./out-of-space.ts";

const asking = (message: string): VirtualMachineRecord =>
  ({
    question: {
      id: "q1",
      text: "",
      messages: [message],
      choices: [
        { key: "9", label: "button.cancel", summary: "Cancel" },
        { key: "7", label: "button.retry", summary: "Retry" },
      ],
    },
  }) as unknown as VirtualMachineRecord;

test("only a question about space is taken for one, and its choice is found by name", () => {
  expect(spaceQuestion(asking("msg.hbacommon.outofspace"))).toEqual({ id: "q1", retry: "7" });
  expect(spaceQuestion(asking("msg.uuid.altered"))).toBeUndefined();
  expect(spaceQuestion({ ...asking("x"), question: undefined })).toBeUndefined();
});
