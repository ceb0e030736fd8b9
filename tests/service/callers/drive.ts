// Uses the snippets of client/typescript/README.md as a caller does, and prints what it saw as lines of JSON.
import { changes, customers, receivables, refusal } from "./tieout.js";

const [what, target, connectionId, token] = process.argv.slice(2) as [string, string, string, string?];
const client = receivables(`http://${target}`, token);
const tell = (seen: unknown): void => console.log(JSON.stringify(seen));

if (what === "customers") {
  for await (const { name, outstanding } of customers(client, connectionId))
    tell({ name, outstanding: outstanding.map((owed) => `${owed.currencyCode} ${owed.amount}`) });
} else if (what === "refusals") {
  for (const request of [{}, { connectionId: "con_unknown" }, { connectionId, pageToken: "nonsense" }])
    await client.listCustomers(request).catch((error: unknown) => {
      const { reason, violations, metadata, retryAfterMs } = refusal(error);
      tell({ reason, fields: violations.map((it) => it.field), kind: metadata.kind ?? "", passes: retryAfterMs !== undefined });
    });
} else {
  for await (const { update } of changes(client, connectionId, "", new AbortController().signal))
    if (update.case === "heartbeat") tell({ told: update.case });
    else tell({ told: update.case, id: update.value?.id, kind: update.value?.kind });
}
