show='import signal; print([(s, signal.getsignal(s)) for s in (signal.SIGINT, signal.SIGPIPE, signal.SIGHUP, signal.SIGTERM, signal.SIGXFSZ, signal.SIGUSR1)])'
python3 -c "$show"
(trap '' INT HUP USR1; python3 -c "$show")
(trap '' PIPE; python3 -c "$show")
python3 -c 'import signal, os
# Again and again: the first may come before anybody waits for it.
seen = []; signal.signal(signal.SIGALRM, lambda n, f: seen or (seen.append(n), print("alarm", n)))
signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05); signal.pause(); signal.setitimer(signal.ITIMER_REAL, 0)
signal.signal(signal.SIGUSR1, signal.SIG_IGN); os.kill(os.getpid(), signal.SIGUSR1)
print(signal.default_int_handler is signal.getsignal(signal.SIGINT))
# Whoever runs this may ignore it, and then it would never come.
signal.signal(signal.SIGINT, signal.default_int_handler)
try: os.kill(os.getpid(), signal.SIGINT); signal.pause()
except KeyboardInterrupt: print("interrupted")'
python3 -c 'import subprocess, signal; print(subprocess.run(["sh", "-c", "kill -PIPE $$"]).returncode)'
