package router

import "phx/phoenix"

// A Feed takes the events of one run of one connection. It belongs to one goroutine, which calls [Feed.Flush] before it waits for
// the next event, and when it ends, however it ends.
type Feed struct {
	router     *Router
	connection string
}

// Feed returns a feed for a connection of that name, which has to satisfy [signal.CheckName].
func (r *Router) Feed(connection string) *Feed { return &Feed{router: r, connection: connection} }

// Put leads an event to the sinks and subscriptions that want it. It waits for none of them.
func (f *Feed) Put(ev *phoenix.Event) {}

// Flush hands over what Put has collected.
func (f *Feed) Flush() {}
