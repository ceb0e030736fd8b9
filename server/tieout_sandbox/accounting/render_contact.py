"""Contacts as Xero writes them: whole inside a single document, with balances in a page, without them in a listing."""

from tieout_sandbox.accounting.wire import array, boolean, instant, nest, optional, quote
from tieout_sandbox.books.balances import Balances
from tieout_sandbox.books.documents import Address, Contact, Person, Phone


def paged_contact(contact: Contact, balances: Balances | None) -> str:
    """A contact in a page or alone: with the fields that only these have."""
    merged = optional("MergedToContactID", contact.merged_to_id and quote(contact.merged_to_id))
    extras = "" if balances is None else _balances(balances)
    persons = f'\n  "ContactPersons": {nest(array(map(_person, contact.persons)))},'
    return f"""{{{_head(contact)}{merged}
  "BankAccountDetails": "",{_addresses(contact)}
  "UpdatedDateUTC": {instant(contact.updated_at)},
  "ContactGroups": [],{_parts(contact)}{_currency(contact)}{extras}{persons}
  "HasAttachments": false,
  "HasValidationErrors": false
}}"""


def listed_contact(contact: Contact) -> str:
    """A contact in the old listing without paging."""
    return f"""{{{_head(contact)}
  "BankAccountDetails": "",{_addresses(contact)}
  "UpdatedDateUTC": {instant(contact.updated_at)},
  "ContactGroups": [],{_parts(contact)}
  "ContactPersons": [],
  "HasAttachments": false,
  "HasValidationErrors": false
}}"""


def summary_contact(contact: Contact) -> str:
    """A contact with summaryOnly=true: no addresses, balances, groups, persons, and neither customer nor supplier."""
    merged = optional("MergedToContactID", contact.merged_to_id and quote(contact.merged_to_id))
    return f"""{{{_head(contact)}{merged}
  "BankAccountDetails": "",
  "Phones": {nest(array(map(_phone, contact.phones)))},
  "UpdatedDateUTC": {instant(contact.updated_at)},{_currency(contact)}
  "HasAttachments": false,
  "HasValidationErrors": false
}}"""


def contact_block(contact: Contact) -> str:
    """The contact inside a single document."""
    return f"""{{{_head(contact)}
  "BankAccountDetails": "",{_addresses(contact)}
  "UpdatedDateUTC": {instant(contact.updated_at)},
  "ContactGroups": [],{_parts(contact)}{_currency(contact)}
  "SalesTrackingCategories": [],
  "PurchasesTrackingCategories": [],
  "ContactPersons": {nest(array(map(_person, contact.persons)))},
  "HasValidationErrors": false
}}"""


def _head(contact: Contact) -> str:
    number = optional("ContactNumber", contact.contact_number and quote(contact.contact_number))
    account = optional("AccountNumber", contact.account_number and quote(contact.account_number))
    first = optional("FirstName", quote(contact.first_name) if contact.first_name else None)
    last = optional("LastName", quote(contact.last_name) if contact.last_name else None)
    return f"""
  "ContactID": "{contact.id}",{number}{account}
  "ContactStatus": "{contact.status}",
  "Name": {quote(contact.name)},{first}{last}
  "EmailAddress": {quote(contact.email)},"""


def _parts(contact: Contact) -> str:
    return f'\n  "IsSupplier": {boolean(contact.is_supplier)},\n  "IsCustomer": {boolean(contact.is_customer)},'


def _currency(contact: Contact) -> str:
    return optional("DefaultCurrency", contact.currency and quote(contact.currency))


def _addresses(contact: Contact) -> str:
    """Addresses and phones; a post box that nobody filled in is nothing but its type."""
    if contact.addresses:
        entered = nest(array(map(_address, contact.addresses)))
        return f"""
  "Addresses": {entered},
  "Phones": {nest(array(map(_phone, contact.phones)))},"""
    return f"""
  "Addresses": [
    {{
      "AddressType": "STREET",
      "City": {quote(contact.city)},
      "Region": "",
      "PostalCode": "",
      "Country": "",
      "AttentionTo": ""
    }},
    {{
      "AddressType": "POBOX"
    }}
  ],
  "Phones": {nest(array(map(_phone, contact.phones)))},"""


def _address(address: Address) -> str:
    numbered = enumerate(address.lines, start=1)
    lines = "".join(f'\n  "AddressLine{number}": {quote(line)},' for number, line in numbered if line)
    return f"""{{
  "AddressType": "{address.kind}",{lines}
  "City": {quote(address.city)},
  "Region": {quote(address.region)},
  "PostalCode": {quote(address.postal_code)},
  "Country": {quote(address.country)},
  "AttentionTo": {quote(address.attention_to)}
}}"""


def _phone(phone: Phone) -> str:
    return f"""{{
  "PhoneType": "{phone.kind}",
  "PhoneNumber": {quote(phone.number)},
  "PhoneAreaCode": {quote(phone.area)},
  "PhoneCountryCode": {quote(phone.country)}
}}"""


def _person(person: Person) -> str:
    return f"""{{
  "FirstName": {quote(person.first_name)},
  "LastName": {quote(person.last_name)},
  "EmailAddress": {quote(person.email)},
  "IncludeInEmails": {boolean(person.include_in_emails)}
}}"""


def _balances(balances: Balances) -> str:
    return f"""
  "Balances": {{
    "AccountsReceivable": {{
      "Outstanding": {balances.receivable_outstanding},
      "Overdue": {balances.receivable_overdue}
    }},
    "AccountsPayable": {{
      "Outstanding": {balances.payable_outstanding},
      "Overdue": {balances.payable_overdue}
    }}
  }},"""
