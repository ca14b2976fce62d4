import { randomUUID } from "node:crypto";
import { LabFault } from "../fault.ts";
import { type DataObject, data } from "../model/data.ts";

export interface Choice {
  key: string;
  label: string;
  summary: string;
}

/** Something that a VM waits to be told before it goes on: `runtime.question`. */
export class Question {
  readonly id = randomUUID();
  readonly #answer = Promise.withResolvers<string>();

  constructor(
    /** Id of the message in vSphere's catalogues, `msg.uuid.altered`. */
    readonly message: string,
    readonly text: string,
    readonly choices: readonly Choice[],
    readonly defaultIndex: number,
  ) {}

  /** Key of the choice. Rejects with RequestCanceled when the question is withdrawn. */
  get answer(): Promise<string> {
    return this.#answer.promise;
  }

  /** AnswerVM. ConcurrentAccess: it is another question by now; InvalidArgument: there is no such choice. */
  give(id: string, key: string): void {
    if (id !== this.id) throw new LabFault("ConcurrentAccess", "The VM asks another question by now; read it again.");
    if (!this.choices.some((choice) => choice.key === key)) {
      throw new LabFault(
        "InvalidArgument",
        `A specified parameter was not correct: answerChoice. '${key}' is no choice.`,
        {
          invalidProperty: "answerChoice",
        },
      );
    }
    this.#answer.resolve(key);
  }

  withdraw(): void {
    this.#answer.reject(new LabFault("RequestCanceled", "The task was canceled by a user."));
  }

  get info(): DataObject {
    return data("VirtualMachineQuestionInfo", {
      id: this.id,
      text: this.text,
      choice: data("ChoiceOption", {
        choiceInfo: this.choices.map((choice) => data("ElementDescription", { ...choice })),
        defaultIndex: this.defaultIndex,
      }),
      message: [data("VirtualMachineMessage", { id: this.message, text: this.text })],
    });
  }
}
