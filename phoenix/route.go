package phoenix

import (
	"context"
	"net"
)

// A route is the way of one dial to the server's host: straight, or through a proxy.
type route struct {
	conn   *Conn
	stages *stageClock
	// proxy is the proxy that a failure is about, without userinfo; empty once there is a tunnel through it.
	proxy string
}

// dial makes the network connection.
func (r *route) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	r.stages.begin(StageProxy)
	via, err := r.conn.proxy()
	if err != nil {
		return nil, err
	}
	if via == nil {
		return r.dialTCP(ctx, network, addr)
	}
	r.proxy = publicProxy(via)
	conn, err := dialThrough(ctx, func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := r.dialTCP(ctx, network, addr)
		if err == nil {
			r.stages.begin(StageProxy)
		}
		return conn, err
	}, via, addr)
	if err == nil {
		r.proxy = ""
	}
	return conn, err
}

func (r *route) dialTCP(ctx context.Context, network, addr string) (net.Conn, error) {
	r.stages.begin(StageTCP)
	if dial := r.conn.opts.NetDial; dial != nil {
		return dial(ctx, network, addr)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, addr)
	if tcp, ok := conn.(*net.TCPConn); ok && err == nil {
		// While reads are paused, no answer to a heartbeat is missed; the kernel sees that it is not even acknowledged. The
		// option is set this late because it would bound the connect, too.
		if err := setUserTimeout(tcp, r.conn.opts.HeartbeatInterval+r.conn.opts.HeartbeatTimeout); err != nil {
			r.conn.opts.Logger.Debug("TCP_USER_TIMEOUT could not be set", "error", err)
		}
	}
	return conn, err
}
