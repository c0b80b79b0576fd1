// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	loadv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// A Meter measures the load of clusters.
type Meter interface {
	// Track says which clusters are measured: all, or those named. What came to those
	// that are measured already counts on; the others begin now.
	Track(clusters []string, all bool)
	// Measure returns what has come to the clusters since the last time. With endpoints
	// each host's part is told, too.
	Measure(endpoints bool) []*endpointv3.ClusterStats
	// Counted is told what is to be counted of the reporting itself.
	Counted(LoadEvent)
}

// A LoadEvent is what happens as load is reported.
type LoadEvent uint8

const (
	// LoadAsked is a word of the server on what it wants to know.
	LoadAsked LoadEvent = iota
	// LoadReported is a report that was sent.
	LoadReported
	// LoadFailed is a stream that ended.
	LoadFailed
)

// fastestReport bounds how often a server can ask for reports.
const fastestReport = 10 * time.Millisecond

// sendsAll tells servers that they may ask for the load of all clusters.
const sendsAll = "envoy.lrs.supports_send_all_clusters"

// ReportLoad has a server told the load of clusters (LRS), as it asks for it, until the
// client is closed. A stream that ends is opened again after a growing, random pause.
func (c *Client) ReportLoad(api *corev3.ApiConfigSource, meter Meter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.wg.Go(func() {
		services := max(1, len(api.GetGrpcServices()))
		for service, tries := 0, uint(0); ; service, tries = (service+1)%services, tries+1 {
			heard, err := c.reportTo(c.ctx, api, service, meter)
			if c.ctx.Err() != nil {
				return
			}
			if heard {
				tries = 0
			}
			meter.Counted(LoadFailed)
			wait := backoffOf(api, service).after(tries)
			c.o.Log.Warn("the stream of load reports ended: it is opened again", "error", err, "again_in", wait.Round(time.Millisecond))
			if !pause(c.ctx, wait) {
				return
			}
		}
	})
}

// reportTo is one stream. It reports whether the server has said anything.
func (c *Client) reportTo(ctx context.Context, api *corev3.ApiConfigSource, service int, meter Meter) (heard bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cc, err := c.connect(api, service)
	if err != nil {
		return false, err
	}
	defer func() { _ = cc.Close() }()
	stream, err := loadv3.NewLoadReportingServiceClient(cc).StreamLoadStats(metadataOf(ctx, api, service))
	if err != nil {
		return false, err
	}
	asked, ended := make(chan *loadv3.LoadStatsResponse), make(chan error, 1)
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		ended <- readLoad(ctx, stream, asked)
	}()
	defer func() {
		cancel()
		<-reading
	}()
	node := featured(c.o.Node, sendsAll)
	if err := stream.Send(&loadv3.LoadStatsRequest{Node: node}); err != nil {
		return false, whyLoad(err, asked, ended)
	}
	var wanted *loadv3.LoadStatsResponse
	var due <-chan time.Time
	for {
		select {
		case wanted = <-asked:
			heard = true
			meter.Counted(LoadAsked)
			meter.Track(wanted.GetClusters(), wanted.GetSendAllClusters())
			due = time.After(max(fastestReport, wanted.GetLoadReportingInterval().AsDuration()))
		case <-due:
			err := stream.Send(&loadv3.LoadStatsRequest{Node: node, ClusterStats: meter.Measure(wanted.GetReportEndpointGranularity())})
			if err != nil {
				return heard, whyLoad(err, asked, ended)
			}
			meter.Counted(LoadReported)
			meter.Track(wanted.GetClusters(), wanted.GetSendAllClusters())
			due = time.After(max(fastestReport, wanted.GetLoadReportingInterval().AsDuration()))
		case err := <-ended:
			return heard, err
		case <-ctx.Done():
			return heard, ctx.Err()
		}
	}
}

// featured is a node that says what it can do.
func featured(of *corev3.Node, feature string) *corev3.Node {
	node := &corev3.Node{}
	if of != nil {
		node = proto.CloneOf(of)
	}
	if !slices.Contains(node.GetClientFeatures(), feature) {
		node.ClientFeatures = append(node.ClientFeatures, feature)
	}
	return node
}

// whyLoad is the error that ended a stream: gRPC tells it to who reads.
func whyLoad(err error, asked <-chan *loadv3.LoadStatsResponse, ended <-chan error) error {
	if !errors.Is(err, io.EOF) {
		return err
	}
	for {
		select {
		case <-asked:
		case err := <-ended:
			return err
		}
	}
}

type loadStream = grpc.BidiStreamingClient[loadv3.LoadStatsRequest, loadv3.LoadStatsResponse]

func readLoad(ctx context.Context, stream loadStream, to chan<- *loadv3.LoadStatsResponse) error {
	for {
		r, err := stream.Recv()
		if err != nil {
			return err
		}
		select {
		case to <- r:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
