// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	"encoding/json"
	"maps"
	"slices"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// foreign is a kind of policies that is known, and not done.
type foreign struct {
	kind    source.Kind
	targets []source.Kind
	why     string
	// fields are those that ask for something, and why each is not done.
	fields map[string]string
	// off kinds do nothing unless an install turns them on, which cannot be done here.
	off bool
}

// Foreign are the kinds that are known, and not done.
func (*Policies) Foreign() []attach.Policy {
	return []attach.Policy{
		&foreign{
			kind: source.EnvoyPatchPolicy, targets: []source.Kind{source.Gateway, source.GatewayClass}, off: true,
			why:    "EnvoyPatchPolicy is disabled: Envoy's messages are as Weir makes them; say it by other policies",
			fields: map[string]string{"jsonPatches": "resources have other names and forms here than where the patches were written for"},
		},
	}
}

func (f *foreign) Kind() source.Kind      { return f.kind }
func (f *foreign) Targets() []source.Kind { return f.targets }

// Refs are what one is attached to.
func (f *foreign) Refs(o source.Object) attach.Refs {
	var t api.Targets
	data, err := json.Marshal(o.(*api.Foreign).Spec)
	if err != nil {
		panic("BUG: an object that was read cannot be written: " + err.Error())
	}
	_ = json.Unmarshal(data, &t) // What is not of the form names nothing.
	return refsOf(o.GetNamespace(), &t, nil)
}

// Judge tells that it is not done, and what of it that is.
func (f *foreign) Judge(c *memo.Ctx, name source.Name) attach.Verdict {
	v := attach.Verdict{Refused: []graph.Problem{{Path: "spec", Reason: string(gwapiv1.PolicyReasonInvalid), Message: f.why}}, Disabled: f.off}
	o, ok := source.Get[*api.Foreign](c, f.kind, name)
	if !ok {
		return v
	}
	for _, field := range slices.Sorted(maps.Keys(o.Spec)) {
		if why, known := f.fields[field]; known {
			v.Refused = append(v.Refused, graph.Problem{Path: "spec." + field, Reason: string(gwapiv1.PolicyReasonInvalid), Message: "is not supported: " + why})
		}
	}
	return v
}

// At is nothing.
func (f *foreign) At(*memo.Ctx, source.Name, source.Name, attach.Place) *attach.Effect { return nil }

// Chain is nothing.
func (f *foreign) Chain(*memo.Ctx, source.Name, []source.Name) *attach.Chain { return nil }
