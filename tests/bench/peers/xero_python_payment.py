"""One payment as the official SDK's users record it: of one unit of the invoice that is named on the command line."""

import os
import sys
from datetime import UTC, datetime

from xero_python.accounting import Account, AccountingApi, Invoice, Payment, Payments
from xero_python.api_client import ApiClient
from xero_python.api_client.configuration import Configuration
from xero_python.api_client.oauth2 import OAuth2Token

from third_party_flows import CLIENT_ID, CLIENT_SECRET, authorization_url, consented, exchanged, first_organisation

tokens: dict[str, object] = {}
configuration = Configuration(oauth2_token=OAuth2Token(client_id=CLIENT_ID, client_secret=CLIENT_SECRET))
configuration.proxy, configuration.ssl_ca_cert = os.environ["HTTPS_PROXY"], os.environ["REQUESTS_CA_BUNDLE"]
client = ApiClient(configuration, pool_threads=1, oauth2_token_saver=tokens.update, oauth2_token_getter=lambda: tokens)
client.set_oauth2_token(exchanged(consented(authorization_url())))
xero, tenant = AccountingApi(client), first_organisation()
accounts = xero.get_accounts(tenant, where='Type=="BANK"').accounts
payment = Payment(
    invoice=Invoice(invoice_id=sys.argv[1]),
    account=Account(account_id=next(it.account_id for it in accounts if it.currency_code.value == "NZD")),
    amount=1.0,
    date=datetime.now(UTC).date(),
)
try:
    xero.create_payments(tenant, Payments(payments=[payment]))
except Exception as error:  # noqa: BLE001 - whatever it tells its users
    sys.stdout.write(type(error).__name__)
else:
    sys.stdout.write("done")
