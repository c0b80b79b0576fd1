// SPDX-License-Identifier: Apache-2.0

package grpcjsontranscoder

import "testing"

// The kit, for the tests that need all extensions and so live outside.

// Shop is a descriptor set.
func Shop(t testing.TB) []byte { return shop(t) }

// Frames makes gRPC frames of messages in JSON.
func Frames(t testing.TB, name string, json ...string) string {
	t.Helper()
	return newMessages(t).frames(name, json...)
}
