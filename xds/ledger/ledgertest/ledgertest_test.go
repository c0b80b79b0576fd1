// SPDX-License-Identifier: Apache-2.0

package ledgertest

import (
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
)

func TestRunOnACompleteFile(t *testing.T) {
	Run(t, "testdata/fields.txt", &routev3.DirectResponseAction{})
}

func TestCompareFindsWhatIsWrong(t *testing.T) {
	text := `message envoy.config.route.v3.DirectResponseAction
status yes
statsu rejected
body   yes

message envoy.config.route.v3.RetryPolicy.RetryBackOff
base_interval TODO
max_interval  see envoy.config.core.v3.Node
`
	got, _ := compare(text, []proto.Message{&routev3.DirectResponseAction{}, &routev3.DirectResponseAction{}})
	want := []string{
		`line 4: body is a message: write "see envoy.config.core.v3.DataSource", or a line for each of its fields`,
		"envoy.config.route.v3.DirectResponseAction.body_format is missing",
		"line 8: max_interval is not a envoy.config.core.v3.Node",
		"line 3: envoy.config.route.v3.DirectResponseAction has no field statsu",
		"line 7: envoy.config.route.v3.RetryPolicy.RetryBackOff.base_interval is undecided",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestInsertAddsUndecidedLines(t *testing.T) {
	text := "message envoy.config.route.v3.RetryPolicy.RetryBackOff\nmax_interval yes\n\n# next\n"
	_, added := compare(text, []proto.Message{&routev3.DirectResponseAction{}})
	got := insert(text, added)
	want := `message envoy.config.route.v3.RetryPolicy.RetryBackOff
max_interval yes

# next
base_interval  TODO

message envoy.config.route.v3.DirectResponseAction
status  TODO
body  TODO  # or: see envoy.config.core.v3.DataSource
body_format  TODO  # or: see envoy.config.core.v3.SubstitutionFormatString
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	again, _ := compare(got, []proto.Message{&routev3.DirectResponseAction{}})
	if len(again) != 4 {
		t.Errorf("want four undecided fields, got %v", again)
	}
}
