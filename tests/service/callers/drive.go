// Uses the snippets of client/go/README.md as a caller does, and prints what it saw as lines of JSON.
package main

import (
	"context"
	"encoding/json"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	tieoutv1 "example.com/yours/gen/tieout/v1"
	"example.com/yours/tieout"
)

type seen map[string]interface{}

func tell(what seen) error { return json.NewEncoder(os.Stdout).Encode(what) }

func main() {
	what, target, connectionID := os.Args[1], os.Args[2], os.Args[3]
	ctx := context.Background()
	if len(os.Args) > 4 { // by hand: Token does not go over what is not encrypted
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+os.Args[4])
	}
	conn, err := tieout.Dial(target, grpc.WithInsecure())
	check(err)
	switch what {
	case "customers":
		check(tieout.Customers(ctx, conn, connectionID, func(it *tieoutv1.Customer) error {
			outstanding := []string{}
			for _, owed := range it.Outstanding {
				outstanding = append(outstanding, owed.CurrencyCode+" "+owed.Amount)
			}
			return tell(seen{"name": it.Name, "outstanding": outstanding})
		}))
	case "refusals":
		requests := []*tieoutv1.ListCustomersRequest{{}, {ConnectionId: "con_unknown"}, {ConnectionId: connectionID, PageToken: "nonsense"}}
		for _, request := range requests {
			_, err := tieoutv1.NewReceivablesServiceClient(conn).ListCustomers(ctx, request)
			refused, fields := tieout.RefusalOf(err), []string{}
			for field := range refused.Violations {
				fields = append(fields, field)
			}
			check(tell(seen{"reason": refused.Reason, "fields": fields, "kind": refused.Metadata["kind"], "passes": refused.RetryAfter > 0}))
		}
	default:
		check(tieout.Watch(ctx, conn, connectionID, "", func(it *tieoutv1.WatchChangesResponse) error {
			switch update := it.Update.(type) {
			case *tieoutv1.WatchChangesResponse_Snapshot:
				return tell(seen{"told": "snapshot", "id": update.Snapshot.Id, "kind": update.Snapshot.Kind})
			case *tieoutv1.WatchChangesResponse_Change:
				return tell(seen{"told": "change", "id": update.Change.Id, "kind": update.Change.Kind})
			default:
				return tell(seen{"told": "heartbeat"})
			}
		}))
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
