// SPDX-License-Identifier: Apache-2.0

package route

import routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

// An Override is what a cluster says in the place of the routes that lead to it. What is
// nil it leaves to them.
type Override struct {
	Retry      *RetryPolicy
	Mirrors    []Mirror
	HashPolicy HashPolicies
}

// CompileOverride compiles the retry_policy, request_mirror_policies and hash_policy of a
// cluster. Problems have paths below the message that holds them; if one is more than a
// warning the Override is of no use.
func CompileOverride(retry *routev3.RetryPolicy, mirrors []*routev3.RouteAction_RequestMirrorPolicy, hash []*routev3.RouteAction_HashPolicy, ctx Context) (Override, []Problem) {
	c := &compiler{ctx: ctx, problems: &[]Problem{}, seen: map[Problem]bool{}}
	o := Override{Mirrors: c.mirrors(mirrors), HashPolicy: c.hashPolicies(hash)}
	if retry != nil {
		o.Retry = c.at("retry_policy").retry(retry)
	}
	return o, *c.problems
}
