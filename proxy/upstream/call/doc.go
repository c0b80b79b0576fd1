// SPDX-License-Identifier: Apache-2.0

// Package call sends requests that are the proxy's own, and not on behalf of anybody
// else, to clusters: they pass the cluster's balancer, breakers, pools and transport
// sockets and count in its statistics as all requests do. They pass no filters, and
// are small: a request's body is there, and a response is read whole, up to a limit.
//
// A [Client] makes a [Call] to a [Service]. A filter makes its calls on its stream's own
// task ([Call.Do], [Call.Unary]), which waits; when the stream ends so does the call.
// What has no task, such as a goroutine that sends batches, has a [Caller].
package call
