// xero-node, Xero's own SDK for Node.js: consent to revocation, reads, writes and errors.
// It reads HTTPS_PROXY and NODE_EXTRA_CA_CERTS by itself; the OpenID part is told of the proxy by its own setting.
"use strict";
const HttpsProxyAgent = require("https-proxy-agent");
const { custom } = require("openid-client");
const { XeroClient } = require("xero-node");

const SANDBOX_URL = process.env.SANDBOX_URL;
const APP = { clientId: "tieout-sandbox-app", clientSecret: "sandbox-secret" };
const REDIRECT_URI = "https://localhost:1/callback";
const SCOPES = (
  "openid profile email offline_access accounting.contacts accounting.settings.read accounting.invoices " +
  "accounting.payments accounting.banktransactions accounting.reports.aged.read"
).split(" ");
const TODAY = "2026-11-22";
const NOBODY = "00000000-0000-4000-8000-000000000000";

const made = {}; // what later flows go on with
let xero, api, tenant;

async function control(method, path = "", body = undefined) {
  const headers = { "Content-Type": "application/json" };
  const url = `${SANDBOX_URL}/sandbox${path && "/"}${path}`;
  const answer = await fetch(url, { method, headers, body: body && JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${method} ${path}: ${await answer.text()}`);
  return answer.json();
}

const consented = async (authorization_url, choices = {}) =>
  (await control("POST", "consent", { authorization_url, ...choices })).redirect_to;
const advance = (seconds) => control("POST", "clock", { advance_seconds: seconds });

// How the SDK tells of an error: the API's calls reject with JSON, the others with axios' error.
async function refused(call) {
  try {
    await call();
  } catch (error) {
    const told = typeof error === "string" ? JSON.parse(error) : error;
    const { statusCode, status, headers, body, data } = told.response ?? {};
    return { status: statusCode ?? status, headers, body: body ?? data, error: told.error ?? told.message };
  }
  return { status: "nothing" };
}

function allocate() {
  const allocations = [{ invoice: { invoiceID: made.invoice }, amount: 7, date: TODAY }];
  return api.createCreditNoteAllocation(tenant, made.note, { allocations });
}

const flows = {
  async connections() {
    custom.setHttpOptionsDefaults({ agent: new HttpsProxyAgent(process.env.HTTPS_PROXY) });
    const apart = Math.abs(Date.now() - Date.parse((await control("GET", "clock")).now)) / 1000;
    xero = new XeroClient({
      ...APP, redirectUris: [REDIRECT_URI], scopes: SCOPES, state: "st", clockTolerance: apart + 3600,
    });
    const consentUrl = await xero.buildConsentUrl();
    const organisations = (await control("GET")).organisations.map((found) => found.name);
    const tokens = await xero.apiCallback(await consented(consentUrl, { organisations }));
    const tenants = await xero.updateTenants();
    const names = tenants.map((found) => [found.tenantName, found.orgData.baseCurrency]).sort();
    const first = (await control("GET")).organisations[0].id;
    await xero.disconnect(tenants.find((found) => found.tenantId !== first).id);
    const left = await xero.updateTenants(false);
    tenant = left[0].tenantId;
    api = xero.accountingApi;
    return {
      consentUrl: consentUrl.split("?")[0], email: tokens.claims().email, type: tokens.token_type, tenants: names,
      left: left.map((found) => found.tenantId),
    };
  },

  async token_refresh() {
    const before = xero.readTokenSet();
    const after = await xero.refreshToken();
    await advance(31 * 60);
    const expired = await refused(() => api.getOrganisations(tenant));
    const renewed = await xero.refreshWithRefreshToken(APP.clientId, APP.clientSecret, after.refresh_token);
    const found = (await api.getOrganisations(tenant)).body.organisations[0];
    return {
      rotated: new Set([before, after, renewed].map((set) => set.refresh_token)).size, expired,
      after: found.organisationID,
    };
  },

  async settings() {
    const accounts = (await api.getAccounts(tenant, undefined, 'Status=="ACTIVE"')).body.accounts;
    made.bank = accounts.find((found) => found.type === "BANK").accountID;
    const actions = (await api.getOrganisationActions(tenant)).body.actions;
    return {
      accounts: accounts.map((found) => found.accountID).sort(),
      actions: Object.fromEntries(actions.map((found) => [found.name, found.status])),
      users: (await api.getUsers(tenant)).body.users.map((found) => [found.emailAddress, found.organisationRole]),
      currencies: (await api.getCurrencies(tenant)).body.currencies.map((found) => found.code).sort(),
    };
  },

  async documents() {
    const seen = (found, key, ...names) =>
      Object.fromEntries(
        found.map((each) => [each[key], [each.updatedDateUTC.toISOString(), ...names.map((name) => each[name])]]),
      );
    const none = undefined, credit = ["status", "total", "remainingCredit"];
    const { body: contacts } = await api.getContacts(tenant, none, none, none, none, 1, true, none, none, 1000);
    const many = [tenant, none, none, none];
    const { body: invoices } = await api.getInvoices(
      ...many, none, none, none, none, 1, none, none, none, none, 1000,
    );
    const { body: creditNotes } = await api.getCreditNotes(...many, 1, none, 1000);
    const { body: overpayments } = await api.getOverpayments(...many, 1, none, 1000);
    const { body: prepayments } = await api.getPrepayments(...many, 1, none, 1000);
    const { body: payments } = await api.getPayments(...many, 1, 1000);
    const { body: transactions } = await api.getBankTransactions(...many, 1, none, 1000);
    return {
      contacts: seen(contacts.contacts, "contactID", "contactStatus"),
      invoices: seen(invoices.invoices, "invoiceID", "status", "total", "amountDue"),
      credit_notes: seen(creditNotes.creditNotes, "creditNoteID", ...credit),
      overpayments: seen(overpayments.overpayments, "overpaymentID", ...credit),
      prepayments: seen(prepayments.prepayments, "prepaymentID", ...credit),
      payments: seen(payments.payments, "paymentID", "status", "amount"),
      bank_transactions: seen(transactions.bankTransactions, "bankTransactionID", "status"),
    };
  },

  async single_documents() {
    const kinds = {
      Contact: "contactID", Invoice: "invoiceID", CreditNote: "creditNoteID", Overpayment: "overpaymentID",
      Prepayment: "prepaymentID", Payment: "paymentID", BankTransaction: "bankTransactionID",
    };
    const same = {};
    for (const [kind, key] of Object.entries(kinds)) {
      const collection = `${kind[0].toLowerCase()}${kind.slice(1)}s`;
      const listed = (await api[`get${kind}s`](tenant)).body[collection][0];
      const found = (await api[`get${kind}`](tenant, listed[key])).body[collection][0];
      same[kind] = found[key] === listed[key] && +found.updatedDateUTC === +listed.updatedDateUTC;
    }
    return same;
  },

  async filters() {
    const none = undefined;
    const { body: page } = await api.getInvoices(
      tenant, none, none, "InvoiceNumber ASC", none, none, none, none, 2, none, none, none, none, 100,
    );
    const wanted = page.invoices.slice(0, 3).map((found) => found.invoiceID);
    const { body: byIds } = await api.getInvoices(tenant, none, none, none, wanted);
    const { body: open } = await api.getInvoices(tenant, none, 'Type=="ACCREC"', none, none, none, none, ["AUTHORISED"]);
    const payments = (await api.getPayments(tenant)).body.payments;
    const newest = new Date(Math.max(...payments.map((found) => found.updatedDateUTC)));
    const since = (await api.getPayments(tenant, newest)).body.payments;
    return {
      pagination: [page.pagination.page, page.pagination.pageSize, page.pagination.itemCount],
      page: page.invoices.map((found) => found.invoiceNumber),
      byIds: JSON.stringify(byIds.invoices.map((found) => found.invoiceID).sort()) === JSON.stringify(wanted.sort()),
      open: open.invoices.map((found) => found.invoiceID).sort(),
      newest: newest.toISOString(), since: since.map((found) => found.paymentID),
    };
  },

  async contacts() {
    const contacts = [{ name: "Node Ltd", emailAddress: "node@example.com" }, { name: "Gone Ltd" }];
    const [kept, gone] = (await api.createContacts(tenant, { contacts })).body.contacts;
    const change = async (id, contact) =>
      (await api.updateContact(tenant, id, { contacts: [contact] })).body.contacts[0];
    const changed = await change(kept.contactID, { emailAddress: "two@example.com" });
    const archived = await change(gone.contactID, { contactStatus: "ARCHIVED" });
    made.contact = kept.contactID;
    return { id: made.contact, email: changed.emailAddress, archived: [archived.contactID, archived.contactStatus] };
  },

  async invoices() {
    const one = {
      type: "ACCREC", contact: { contactID: made.contact }, date: TODAY, dueDate: "2026-12-12", status: "AUTHORISED",
      lineAmountTypes: "Exclusive",
      lineItems: [{ description: "Work", quantity: 2, unitAmount: 50, accountCode: "200" }],
    };
    const create = (invoices, ...more) => api.createInvoices(tenant, { invoices }, ...more);
    const first = (await create([one], false, undefined, "once")).body.invoices[0];
    const again = (await create([one], false, undefined, "once")).body.invoices[0];
    made.invoice = first.invoiceID;
    const mixed = (await create([one, { type: "ACCREC" }], false)).body.invoices;
    const change = async (id, invoice) => (await api.updateInvoice(tenant, id, { invoices: [invoice] })).body.invoices[0];
    const changed = await change(made.invoice, { reference: "PO 1" });
    const voided = await change(mixed[0].invoiceID, { status: "VOIDED" });
    await api.createInvoiceHistory(tenant, made.invoice, { historyRecords: [{ details: "Called them" }] });
    const history = (await api.getInvoiceHistory(tenant, made.invoice)).body.historyRecords;
    const report = (await api.getReportAgedReceivablesByContact(tenant, made.contact)).body.reports[0];
    return {
      id: made.invoice, once: first.invoiceID === again.invoiceID, total: first.total, reference: changed.reference,
      mixed: mixed.map((found) => found.statusAttributeString), voided: [voided.invoiceID, voided.status],
      history: history.map((found) => found.details), report: report.reportName,
      online: (await api.getOnlineInvoice(tenant, made.invoice)).body.onlineInvoices[0].onlineInvoiceUrl,
    };
  },

  async payments() {
    const payment = (amount, more = {}) => ({
      invoice: { invoiceID: made.invoice }, account: { accountID: made.bank }, date: TODAY, amount, ...more,
    });
    const kept = (await api.createPayment(tenant, payment(10, { reference: "NODE-1" }))).body.payments[0];
    const undone = (await api.createPayments(tenant, { payments: [payment(5)] })).body.payments[0];
    const deleted = (await api.deletePayment(tenant, undone.paymentID, { status: "DELETED" })).body.payments[0];
    return {
      kept: [kept.paymentID, kept.reference], deleted: [deleted.paymentID, deleted.status],
      tooMuch: await refused(() => api.createPayments(tenant, { payments: [payment(5000)] })),
    };
  },

  async batches() {
    const account = { accountID: made.bank }, invoice = { invoiceID: made.invoice };
    const run = { account, date: TODAY, reference: "run", payments: [{ invoice, amount: 3 }] };
    const batch = (await api.createBatchPayment(tenant, { batchPayments: [run] })).body.batchPayments[0];
    const read = (await api.getBatchPayment(tenant, batch.batchPaymentID)).body.batchPayments[0];
    const payment = (await api.getPayment(tenant, batch.payments[0].paymentID)).body.payments[0];
    const status = "DELETED";
    const gone = (await api.deleteBatchPaymentByUrlParam(tenant, read.batchPaymentID, { status })).body.batchPayments[0];
    return {
      id: read.batchPaymentID, total: Number(read.totalAmount), of: payment.batchPayment.batchPaymentID,
      gone: gone.status,
    };
  },

  async customer_credits() {
    const contact = { contactID: made.contact }, status = "AUTHORISED";
    const line = { description: "Back", quantity: 1, unitAmount: 20, accountCode: "200" };
    const creditNotes = [{ type: "ACCRECCREDIT", contact, date: TODAY, status, lineItems: [line] }];
    made.note = (await api.createCreditNotes(tenant, { creditNotes })).body.creditNotes[0].creditNoteID;
    await allocate();
    const account = { accountID: made.bank };
    const refund = { creditNote: { creditNoteID: made.note }, account, date: TODAY, amount: 2 };
    const refunded = (await api.createPayment(tenant, refund)).body.payments[0];
    const received = { ...line, description: "Too much", accountCode: undefined };
    const bankTransactions = [
      { type: "RECEIVE-OVERPAYMENT", contact, bankAccount: account, lineAmountTypes: "NoTax", lineItems: [received] },
    ];
    const over = (await api.createBankTransactions(tenant, { bankTransactions })).body.bankTransactions[0];
    return { note: made.note, refund: [refunded.paymentID, refunded.paymentType], overpayment: over.overpaymentID };
  },

  async removed_allocations() {
    const removed = async () => {
      const note = (await api.getCreditNote(tenant, made.note)).body.creditNotes[0];
      const { allocationID } = note.allocations[0];
      return (await api.deleteCreditNoteAllocations(tenant, made.note, allocationID)).body.isDeleted ?? "not told";
    };
    const bare = await removed();
    await allocate();
    await control("POST", "switches", { removed_allocations_have_envelope: true });
    return { bare, enveloped: await removed() };
  },

  async errors() {
    const found = {
      validation: await refused(() => api.createInvoices(tenant, { invoices: [{ type: "ACCREC" }] })),
      missing: await refused(() => api.getInvoice(tenant, NOBODY)),
      stranger: await refused(() => api.getOrganisations(NOBODY)),
    };
    await control("POST", "limits", { minute: 1 });
    await advance(60);
    await api.getCurrencies(tenant);
    found.minute = await refused(() => api.getCurrencies(tenant));
    await control("POST", "limits", { minute: 1000 });
    const { access_token } = xero.readTokenSet();
    api.accessToken = "nonsense";
    found.nonsense = await refused(() => api.getOrganisations(tenant));
    api.accessToken = access_token;
    found.grant = await refused(() => xero.refreshWithRefreshToken(APP.clientId, APP.clientSecret, "nonsense"));
    return found;
  },

  async revocation() {
    await xero.revokeToken();
    return { connections: (await control("GET")).connections };
  },
};

async function main() {
  const seen = {};
  await control("POST", "limits", { minute: 1000 });
  for (const [name, flow] of Object.entries(flows)) {
    try {
      seen[name] = { facts: await flow() };
    } catch (error) {
      seen[name] = { error: error.stack ?? String(error) };
    }
  }
  process.stdout.write("\n" + JSON.stringify(seen) + "\n");
}

main();
