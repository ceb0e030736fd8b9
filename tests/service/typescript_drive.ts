// Uses the snippets of client/typescript/README.md as a caller does, and prints what it saw as lines of JSON.
import { toJson } from "@bufbuild/protobuf";
import { CustomerSchema } from "./gen/tieout/v1/receivables_service_pb.js";
import { changes, customers, receivables, refusal } from "./tieout.js";

const [what, baseUrl, connectionId, token] = process.argv.slice(2) as [string, string, string, string?];
const client = receivables(baseUrl, token);
const tell = (seen: unknown): void => console.log(JSON.stringify(seen));

if (what === "customers") {
  for await (const customer of customers(client, connectionId)) tell(toJson(CustomerSchema, customer));
} else if (what === "refusals") {
  const asked = [{}, { connectionId: "con_unknown" }, { connectionId, pageToken: "nonsense" }];
  for (const request of asked) await client.listCustomers(request).catch((error: unknown) => tell(refusal(error)));
} else {
  for await (const message of changes(client, connectionId, "", new AbortController().signal)) {
    const { case: kind, value } = message.update;
    if (kind === "snapshot" || kind === "change") tell({ kind, id: value.id, told: value.kind });
    else tell({ kind });
  }
}
